//! State of attachments that the kernel holds, or should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::{Mac, Vlan};

/// Attachments' objects on the host: wanted, or observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Bridges by name.
    pub bridges: BTreeMap<String, PodBridge>,
    /// The host's ends of containers' pairs by name: ports of bridges, and those that routes lead to.
    pub ports: BTreeMap<String, PodPort>,
    /// Interfaces that have the gateways of VLANs, by name: each is one end of a veth pair.
    pub pairs: BTreeMap<String, Pair>,
    /// Addresses of gateways, and the interfaces that have them.
    pub addrs: BTreeSet<(String, IpNet)>,
    /// Routes to containers' addresses, and the host's ends by which they lead.
    pub routes: BTreeSet<(IpNet, String)>,
    /// Permanent neighbours on the host's ends.
    pub neighs: BTreeMap<(String, IpAddr), Mac>,
    /// Switches of bridges and of the host's ends, by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// The rules of the plugins' nftables table.
    pub rules: bool,
    /// By attachment, the addresses that are masqueraded, each with the length of its own network.
    pub masquerade: BTreeMap<String, Vec<IpNet>>,
    /// By attachment, its port, and the only source address of frames that come in by it.
    pub sources: BTreeMap<String, (String, Mac)>,
    /// By attachment, its host ports in words.
    pub host_ports: BTreeMap<String, String>,
    /// By attachment, what the host forwards for it, in words.
    pub forwarded: BTreeMap<String, String>,
    /// Wanted: the attachment of each port.
    pub owners: BTreeMap<String, String>,
    /// Observed: attachments whose container is gone. None is ever wanted.
    pub gone: BTreeSet<String>,
    /// Observed: links that a DEL has set aside. None is ever wanted.
    pub discarded: BTreeSet<String>,
}

/// A bridge. In a wanted one, values that are none or off stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodBridge {
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// It is in promiscuous mode.
    pub promisc: bool,
    /// Forwards frames within their VLAN only (`vlan_filtering`).
    pub vlan_filtering: bool,
    /// Administratively up.
    pub up: bool,
}

/// A bridge with ports, on which pods may sit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedBridge {
    /// As `ip link` shows it.
    pub name: String,
    /// Its addresses, each with the length of its network.
    pub addrs: Vec<IpNet>,
    /// The number of its ports.
    pub ports: usize,
}

/// An interface that has the gateway of a VLAN, and the other end of its pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The other end, a port of the bridge. Observed: none.
    pub port: String,
    /// Ethernet address; in a wanted one, none is any.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
}

/// The host's end of a container's pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPort {
    /// The bridge; none where it is in none. A wanted one without is led to by routes.
    pub bridge: Option<String>,
    /// Administratively up.
    pub up: bool,
    /// Frames may leave by the port by which they came.
    pub hairpin: bool,
    /// No frames to other isolated ports.
    pub isolated: bool,
    /// VLANs of the port; in a wanted one, none means that the bridge does not filter by VLAN.
    pub vlans: BTreeSet<Vlan>,
    /// Observed: the VLAN into which its bridge puts new ports. Wanted: none.
    pub default_vlan: Option<u16>,
    /// Wanted: the port may stay in its bridge's default VLAN.
    pub keeps_default_vlan: bool,
}
