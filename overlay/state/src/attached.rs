//! Attachments of containers on the host, as values, and the repairs of them. Nothing here deletes.

mod compare;
mod held;
mod repair;

pub use compare::{missing_ports, repairs};
pub use held::{Attached, Pair, PodBridge, PodPort, UsedBridge};
pub use repair::Repair;
