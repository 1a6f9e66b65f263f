//! The scenarios. One program, so that they link once and run side by side; one file for each scenario.

mod lab;
