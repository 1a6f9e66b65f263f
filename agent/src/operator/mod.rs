//! The operator's commands, a file each, and what they share: which agent is meant, how to ask it, how to print.

pub mod adopt;
pub mod cleanup;
mod client;
pub mod config;
pub mod connectivity;
pub mod docker_opts;
pub mod doctor;
pub mod events;
pub mod find;
pub mod install_cni;
pub mod leases;
pub mod plan;
mod print;
pub mod status;
mod table;
pub mod times;
pub mod top;
pub mod trace;
pub mod tx_checksum;
pub mod version;
pub mod views;
pub mod watch;
