//! The daemon's flags as values: one [`Flag`] each, from which come the command line, both environments, the help, and
//! the check of the documentation. What a flag means is decided in `options`.

mod args;
mod cni;
mod flag;
mod lookup;
mod probes;
mod sandbox;
mod table;
pub mod variables;

pub use args::{AgentFlags, CniFlags, DaemonFlags, Flags, StoreFlags};
pub use cni::*;
pub use flag::{Flag, Takes};
pub use lookup::{all, find};
pub use probes::*;
pub use sandbox::*;
pub use table::*;

#[cfg(test)]
mod tests;
