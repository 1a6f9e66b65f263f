//! Interfaces, and the kinds of them that we make.

use std::fmt;
use std::net::IpAddr;

use tweed_model::Mac;

/// A VXLAN tunnel end point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vxlan {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// UDP port, host byte order.
    pub port: u16,
    /// Source address of the outer packets.
    pub local: IpAddr,
    /// Name of the interface that carries the outer packets.
    pub underlay: String,
    /// Whether the device learns addresses from packets.
    pub learning: bool,
    /// Group based policy extension.
    pub gbp: bool,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A VTEP.
    Vxlan(Vxlan),
    /// A TUN device, whose packets the agent forwards itself. It persists while no agent runs.
    Tun {
        /// Made to have several queues. Such a device is attached to in another way.
        queues: bool,
    },
    /// Something else that stands under a name of ours; the kernel's name for its kind, empty for a physical device.
    Other(String),
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Kind and its attributes. A difference here means: replace the device.
    pub kind: LinkKind,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ethernet address; zero on a TUN device, which has none.
    pub mac: Mac,
    /// Administratively up.
    pub up: bool,
    /// `IFLA_IFALIAS`: how a restarted agent knows a device of an earlier configuration as its own.
    pub alias: String,
}

impl LinkKind {
    /// Whether it is a kind that we make.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            LinkKind::Vxlan(vxlan) => write!(
                f,
                "vxlan id {} local {} dev {} dstport {}{}{}",
                vxlan.vni,
                vxlan.local,
                vxlan.underlay,
                vxlan.port,
                if vxlan.learning { "" } else { " nolearning" },
                if vxlan.gbp { " gbp" } else { "" }
            )?,
            LinkKind::Tun { queues: false } => f.write_str("tun")?,
            LinkKind::Tun { queues: true } => f.write_str("tun of several queues")?,
            LinkKind::Other(kind) if kind.is_empty() => f.write_str("device")?,
            LinkKind::Other(kind) => f.write_str(kind)?,
        }
        write!(
            f,
            " mtu {} address {}{}",
            self.mtu,
            self.mac,
            if self.up { " up" } else { " down" }
        )
    }
}
