//! The scenarios. One program, so that they link once and run side by side; one file for each scenario.

mod adoption;
mod alone;
mod healing;
mod lab;
mod nat;
mod reach;
mod restart;
mod routing;
