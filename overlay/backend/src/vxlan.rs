//! Backend `vxlan`: a VTEP for each family, and for each peer a permanent neighbour entry, a permanent FDB entry and an
//! onlink route. Names, addresses and announced data are flannel's, so that both can share a network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::json::Object;
use tweed_model::{
    Admission, BackendData, ConfigError, Dual, Family, LinkName, LocalNode, Mac, Peer, PeerSide,
    Refusal, SubnetKey,
};
use tweed_nft::Mark;
use tweed_state::{
    FdbKey, KernelState, Link, LinkKind, NeighKey, NextHop, ROUTE_PROTOCOL, Route, RouteKey,
    Vxlan as VxlanLink,
};

use super::host_gw::direct_route;
use super::intent::Intent;
use super::options;
use super::outline::{Outline, Tunnel};
use super::tx_checksum::TxChecksum;

pub(super) const NAME: &str = "vxlan";
/// What a lease announces.
const WIRE_TYPE: &str = "vxlan";
/// The Linux kernel's default VXLAN port, which flannel uses unless told otherwise. IANA's is 4789.
const DEFAULT_PORT: u16 = 8472;
/// Outer Ethernet is not counted: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20 bytes or IPv6 40.
const OVERHEAD: Dual<u32> = Dual {
    v4: Some(50),
    v6: Some(70),
};
const MAX_VNI: u64 = (1 << 24) - 1;
/// Bytes from the start of the UDP header to the network identifier: 8 of UDP, 4 of flags and reserved bits.
const VNI_OFFSET: u8 = 12;

/// The options of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, 1 to 2^24 - 1.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// MTU of the underlay in bytes, where it is less than the uplink's.
    pub mtu: Option<u32>,
    /// Group based policy extension.
    pub gbp: bool,
    /// Whether VTEPs learn addresses from packets.
    pub learning: bool,
    /// Peers that are neighbours on the uplink are routed to directly.
    pub direct_routing: bool,
    /// Whether the kernel or the network card makes the checksums of what the devices carry.
    pub tx_checksum: TxChecksum,
}

impl Vxlan {
    pub(super) const KEYS: &[&str] = &[
        "Type",
        "VNI",
        "Port",
        "MTU",
        "GBP",
        "Learning",
        "DirectRouting",
        TxChecksum::KEY,
        "MacPrefix",
        "Name",
    ];

    pub(super) fn parse(options: &Object) -> Result<Self, ConfigError> {
        let vni = options::number(options, "VNI", 1, 1, MAX_VNI)?;
        let port = options::number(options, "Port", 0, 0, u16::MAX.into())?;
        let mtu = options::number(options, "MTU", 0, 0, u16::MAX.into())?;
        Ok(Self {
            vni: u32::try_from(vni).unwrap_or(1),
            port: u16::try_from(port)
                .ok()
                .filter(|port| *port != 0)
                .unwrap_or(DEFAULT_PORT),
            mtu: u32::try_from(mtu).ok().filter(|mtu| *mtu != 0),
            gbp: options::switch(options, "GBP", false)?,
            learning: options::switch(options, "Learning", false)?,
            direct_routing: options::switch(options, "DirectRouting", false)?,
            tx_checksum: TxChecksum::parse(options)?,
        })
    }

    /// `{"VNI":…,"VtepMAC":"…"}` is announced, in this order and without spaces: flannel reads its own back by splitting
    /// the text.
    pub(super) fn outline(&self) -> Outline {
        let data = serde_json::json!({ "VNI": self.vni });
        let vteps = OVERHEAD.map(|family, _| self.link_name(family));
        Outline {
            name: NAME,
            wire_type: WIRE_TYPE,
            data: vteps.map(|_, _| data.clone()),
            links: vteps.values().cloned().collect(),
            vteps,
            overhead: OVERHEAD,
            underlay_mtu: self.mtu,
            tunnel: Some(Tunnel {
                port: self.port,
                mark: Some(self.mark()),
            }),
            direct: self.direct_routing,
            data_plane: false,
            tx_checksum: Some(self.tx_checksum),
        }
    }

    /// The kernel takes packets of the network from anybody.
    fn mark(&self) -> Mark {
        let [_, bytes @ ..] = self.vni.to_be_bytes();
        Mark {
            name: format!("VXLAN {}", self.vni),
            offset: VNI_OFFSET,
            bytes: bytes.to_vec(),
        }
    }

    fn link_mtu(&self, uplink_mtu: u32, family: Family) -> u32 {
        let overhead = OVERHEAD.get(family).copied().unwrap_or(0);
        // The kernel refuses a device that is larger than what carries it.
        let underlay = self.mtu.map_or(uplink_mtu, |mtu| mtu.min(uplink_mtu));
        underlay.saturating_sub(overhead)
    }

    fn link_name(&self, family: Family) -> String {
        match family {
            Family::V4 => format!("flannel.{}", self.vni),
            Family::V6 => format!("flannel-v6.{}", self.vni),
        }
    }

    pub(super) fn intent(&self, node: &LocalNode, peers: &Admission) -> Intent {
        let mut state = KernelState::default();
        for (family, subnet) in node.subnets.iter() {
            self.add_vtep(&mut state, node, family, subnet);
        }
        let peers: Vec<&Peer> = peers.announcing(WIRE_TYPE).collect();
        let resolved: Vec<_> = peers.iter().map(|peer| self.resolve(node, peer)).collect();
        let owners = Owners::among(peers.iter().copied().zip(&resolved));
        let mut refused = BTreeMap::new();
        let mut entries = Entries::default();
        let uplink = LinkName::from(node.uplink.name.as_str());
        let [v4, v6] = Family::BOTH.map(|family| LinkName::from(self.link_name(family).as_str()));
        for (peer, macs) in peers.into_iter().zip(resolved) {
            let macs = macs.and_then(|macs| owners.admit(peer, &macs).map(|()| macs));
            let macs = match macs {
                Ok(macs) => macs,
                Err(reason) => {
                    refused.insert(peer.lease.key, reason);
                    continue;
                }
            };
            for (family, side) in peer.sides.iter() {
                let vtep = match family {
                    Family::V4 => &v4,
                    Family::V6 => &v6,
                };
                match macs.get(family) {
                    Some(mac) => entries.add(vtep, side, *mac),
                    None => entries.routes.push(direct_route(&uplink, side)),
                }
            }
        }
        Intent {
            state: KernelState {
                neighs: entries.neighs.into_iter().collect(),
                fdb: entries.fdb.into_iter().collect(),
                routes: entries.routes.into_iter().collect(),
                ..state
            },
            forwarding: None,
            refused,
        }
    }

    fn add_vtep(&self, state: &mut KernelState, node: &LocalNode, family: Family, subnet: &IpNet) {
        let Some(local) = node.uplink.addrs.get(family) else {
            return;
        };
        let name = self.link_name(family);
        let kind = LinkKind::Vxlan(VxlanLink {
            vni: self.vni,
            port: self.port,
            local: *local,
            underlay: node.uplink.name.clone(),
            learning: self.learning,
            gbp: self.gbp,
        });
        let link = Link {
            kind,
            mtu: self.link_mtu(node.uplink.mtu, family),
            mac: node.identity.mac(family),
            up: true,
            alias: String::new(),
        };
        state
            .addrs
            .insert((name.clone(), IpNet::from(subnet.network())));
        if let Some(on) = self.tx_checksum.wanted() {
            state.tx_checksum.insert(name.clone(), on);
        }
        state.links.insert(name, link);
    }

    /// The peer's MACs, for each family that goes through the tunnel.
    fn resolve(&self, node: &LocalNode, peer: &Peer) -> Result<Dual<Mac>, Refusal> {
        let tunnelled = peer
            .sides
            .filter_map(|_, side| (!self.is_direct(node, side)).then_some(()));
        let own = |mac| {
            Family::BOTH
                .into_iter()
                .any(|f| node.identity.mac(f) == mac)
        };
        let macs = tunnelled.try_map(|family, ()| {
            let mac = read_mac(peer.lease.attrs.data.get(family))?;
            match own(mac) {
                true => Err(format!("VtepMAC {mac} is this node's own")),
                false => Ok(mac),
            }
        });
        macs.map_err(Refusal::BadData)
    }

    fn is_direct(&self, node: &LocalNode, side: &PeerSide) -> bool {
        self.direct_routing && node.uplink.reaches_directly(&side.public)
    }
}

/// Entries of all peers. Sorted once at the end, thousands of them make a map in a fraction of the time that adding
/// each to one takes.
#[derive(Default)]
struct Entries {
    neighs: Vec<(NeighKey, Mac)>,
    fdb: Vec<(FdbKey, IpAddr)>,
    routes: Vec<(RouteKey, Route)>,
}

impl Entries {
    fn add(&mut self, vtep: &LinkName, side: &PeerSide, mac: Mac) {
        let gateway = side.subnet.network();
        self.neighs.push(((vtep.clone(), gateway), mac));
        self.fdb.push(((vtep.clone(), mac), side.public));
        let route = Route {
            next_hop: NextHop::via(Some(gateway), vtep.clone(), true),
            protocol: ROUTE_PROTOCOL,
        };
        self.routes.push((RouteKey::of(side.subnet), route));
    }
}

/// The owners of MACs: of two peers that announce one MAC, the one that did so first has it. Two leases with one MAC and
/// one public address are one node: what it held under an earlier configuration must not keep others from what it holds
/// now.
struct Owners(HashMap<(Family, Mac), Owner>);

/// The owner of a MAC, and since when.
struct Owner {
    lease: SubnetKey,
    public: Option<IpAddr>,
    since: Option<u64>,
}

type Resolved = Result<Dual<Mac>, Refusal>;

impl Owners {
    /// The peers come the oldest first, which decides where nothing else does.
    fn among<'a>(peers: impl Iterator<Item = (&'a Peer, &'a Resolved)>) -> Self {
        let mut owners: HashMap<(Family, Mac), Owner> = HashMap::new();
        for (peer, macs) in peers {
            for (family, mac) in macs.iter().flat_map(Dual::iter) {
                let this = Owner {
                    lease: peer.lease.key,
                    public: peer.sides.get(family).map(|side| side.public),
                    since: peer.since.get(family).copied(),
                };
                match owners.get(&(family, *mac)) {
                    Some(first) if first.since <= this.since => {}
                    _ => drop(owners.insert((family, *mac), this)),
                }
            }
        }
        Self(owners)
    }

    fn admit(&self, peer: &Peer, macs: &Dual<Mac>) -> Result<(), Refusal> {
        for (family, mac) in macs.iter() {
            let public = peer.sides.get(family).map(|side| side.public);
            let owner = self.0.get(&(family, *mac));
            if let Some(first) = owner.filter(|owner| owner.public != public) {
                let first = first.lease;
                let reason =
                    format!("VtepMAC {mac} is that of the lease {first}, which had it first");
                return Err(Refusal::BadData(reason));
            }
        }
        Ok(())
    }
}

/// The MAC that a peer announces, or why there is none.
fn read_mac(data: Option<&BackendData>) -> Result<Mac, String> {
    let data = data.filter(|data| data.is_object());
    let data = data.ok_or("there is none; vxlan needs VtepMAC")?;
    let text = data.string("VtepMAC").map_err(|error| error.to_string())?;
    let text = text.ok_or("VtepMAC is missing")?;
    let mac: Mac = text.parse().map_err(|error| format!("VtepMAC {error}"))?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(format!("VtepMAC {mac} is not a unicast address"))
    }
}
