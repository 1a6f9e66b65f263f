//! What attachments of containers have on the host, as values, and what puts it right. Nothing here deletes.

mod compare;
mod held;
mod repair;

pub use compare::{missing_ports, repairs};
pub use held::{Attached, PodBridge, PodPort};
pub use repair::Repair;
