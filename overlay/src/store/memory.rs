//! A store in memory, for tests and the lab.
