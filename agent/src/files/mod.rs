//! The files that the agent writes: its own state, the word that it leaves for the plugins, and with `--install-cni` the
//! plugin and the network configuration list.

pub mod atomic;
pub mod cni;
pub mod for_plugins;
pub mod state_dir;
