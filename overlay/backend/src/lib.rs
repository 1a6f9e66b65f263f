//! How leases become intent. Each backend has two pure functions: `outline`, what is known of it before any peer is, and
//! `intent`, from the admitted peers to what kernel and data plane should hold. [`Backends`] joins those of several.

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
