//! What runs a plugin: the process around it, the trait that it implements, other plugins that it calls, and what is
//! taken back when an ADD fails.

pub(crate) mod chain;
pub(crate) mod delegate;
pub(crate) mod log;
pub(crate) mod panics;
pub(crate) mod plugin;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod removal;
pub(crate) mod role;
pub(crate) mod undo;
