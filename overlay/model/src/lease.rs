//! A lease: the subnets a node holds, and what it tells the others about itself.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{BackendData, Dual, Mac};

/// The subnets of one lease, which are also its key in every store.
///
/// Prints as flannel's etcd key: `10.5.34.0-24`, `10.5.34.0-24&fd00:5:34::-64`, and for IPv6 alone
/// `0.0.0.0-0&fd00:5:34::-64`. Parsing is in [`super::wire`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubnetKey(pub Dual<IpNet>);

impl fmt::Display for SubnetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.v4 {
            Some(net) => write!(f, "{}-{}", net.network(), net.prefix_len())?,
            None => f.write_str("0.0.0.0-0")?,
        }
        match self.0.v6 {
            Some(net) => write!(f, "&{}-{}", net.network(), net.prefix_len()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SubnetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node announces with its lease: flannel's `LeaseAttrs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseAttrs {
    /// The addresses at which other nodes reach this one.
    pub public: Dual<IpAddr>,
    /// The backend's name, or empty where flannel announces none (udp, alloc).
    pub backend_type: String,
    /// The backend's own data, one for each family, as it stands in the store.
    pub data: Dual<BackendData>,
}

impl LeaseAttrs {
    /// The MACs in the backend's data.
    pub fn vtep_macs(&self) -> Dual<Mac> {
        let read = |data: &BackendData| data.string("VtepMAC").ok()??.parse().ok();
        self.data.filter_map(|_, data| read(data))
    }
}

/// How long a lease lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Term {
    /// It ends when nobody renews it, or with its node.
    #[default]
    Leased,
    /// A reservation: it has no end, and its holder must keep it so.
    Reserved,
}

/// A lease as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Of both families.
    pub key: SubnetKey,
    /// What the holder announced.
    pub attrs: LeaseAttrs,
    /// The node's name where the store knows it (Kubernetes).
    pub node: Option<String>,
    /// Order of creation in the store (etcd: the key's create revision). Where leases overlap, the lowest wins.
    pub created: u64,
    /// How long it lasts.
    pub term: Term,
}
