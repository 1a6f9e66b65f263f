//! DHCP for containers: messages, the client's states, leases on disk, and the daemon that keeps them.

pub mod call;
pub mod client;
mod clock;
mod connection;
pub mod daemon;
pub mod identity;
mod keeper;
pub mod key;
pub mod lease;
mod leases;
mod line;
mod listener;
mod log;
pub mod message;
pub mod options;
pub mod packet;
pub mod protocol;
pub mod record;
mod socket;
