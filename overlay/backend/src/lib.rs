//! How leases become intent. Each backend has two pure functions: `outline`, values that follow from its options alone,
//! and `intent`, the wanted state of kernel and data plane for the admitted peers. [`Backends`] joins those of several.

mod backend;
mod backends;
mod host_gw;
mod intent;
mod joined;
mod options;
mod outline;
mod tx_checksum;
mod udp;
mod vxlan;

pub use backend::Backend;
pub use backends::Backends;
pub use intent::Intent;
pub use outline::{Outline, Tunnel};
pub use tx_checksum::TxChecksum;
pub use udp::Udp;
pub use vxlan::Vxlan;

#[cfg(test)]
mod tests;
