//! The list of backends. A new one is a file of its own, a row of the table, and an arm of each function here.

use tweed_model::json::Object;
use tweed_model::{Admission, ConfigError, LocalNode, NetworkConfig};

use super::host_gw;
use super::intent::Intent;
use super::outline::Outline;
use super::udp::{self, Udp};
use super::vxlan::{self, Vxlan};

/// How packets get to the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Kernel VXLAN: a VTEP, and a neighbour entry, an FDB entry and a route a peer.
    Vxlan(Vxlan),
    /// A TUN device, and the agent itself carries packets in UDP.
    Udp(Udp),
    /// Routes by way of the peers themselves; they must be neighbours on the uplink.
    HostGw,
    /// A lease and nothing else.
    Alloc,
}

/// A backend by its name.
pub(super) struct Kind {
    /// What `Backend.Type` calls it.
    pub(super) name: &'static str,
    /// The keys of its object.
    pub(super) keys: &'static [&'static str],
    /// Its packets can be told apart by device and port, so that one node can run it together with others.
    pub(super) together: bool,
    read: fn(&Object, &NetworkConfig) -> Result<Backend, ConfigError>,
}

/// All of them, in the order in which they are listed to operators.
pub(super) const KINDS: [Kind; 4] = [
    Kind {
        name: vxlan::NAME,
        keys: Vxlan::KEYS,
        together: true,
        read: |options, _| Vxlan::parse(options).map(Backend::Vxlan),
    },
    Kind {
        name: udp::NAME,
        keys: Udp::KEYS,
        together: true,
        read: |options, config| Udp::parse(options, config).map(Backend::Udp),
    },
    Kind {
        name: host_gw::NAME,
        keys: &["Type"],
        together: false,
        read: |_, _| Ok(Backend::HostGw),
    },
    Kind {
        name: ALLOC,
        keys: &["Type"],
        together: false,
        read: |_, _| Ok(Backend::Alloc),
    },
];

const ALLOC: &str = "alloc";

impl Kind {
    /// The backend of this name.
    pub(super) fn named(name: &str) -> Result<&'static Self, ConfigError> {
        const ALL: &[Kind] = &KINDS;
        ALL.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names = ALL.iter().map(|kind| kind.name);
            let names = names.collect::<Vec<_>>().join(", ");
            ConfigError(format!(
                "Backend.Type {name:?} is not supported; this version has {names}"
            ))
        })
    }

    /// Reads its options.
    pub(super) fn parse(
        &self,
        options: &Object,
        config: &NetworkConfig,
    ) -> Result<Backend, ConfigError> {
        (self.read)(options, config)
    }
}

impl Backend {
    /// Values that follow from its options alone.
    pub fn outline(&self) -> Outline {
        match self {
            Self::Vxlan(vxlan) => vxlan.outline(),
            Self::Udp(udp) => udp.outline(),
            Self::HostGw => host_gw::outline(),
            Self::Alloc => Outline {
                name: ALLOC,
                ..Outline::default()
            },
        }
    }

    /// The intent for these peers. Each backend judges the peers that announce it, and no others.
    pub fn intent(&self, node: &LocalNode, peers: &Admission) -> Intent {
        match self {
            Self::Vxlan(vxlan) => vxlan.intent(node, peers),
            Self::Udp(udp) => udp.intent(node, peers),
            Self::HostGw => host_gw::intent(node, peers),
            Self::Alloc => Intent::default(),
        }
    }
}
