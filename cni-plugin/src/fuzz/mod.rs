//! Inputs without end for what plugins read of others: whole calls, results, and what the library of runtimes keeps. What
//! one plugin alone reads has its target beside it. `make fuzz` gives a million to each.

mod calls;
mod results;
mod samples;
