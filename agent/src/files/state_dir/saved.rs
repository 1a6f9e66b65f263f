//! What is saved, in the form in which it stands in the files.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::lease::Term;
use tweed_model::{Dual, Lease, SubnetKey, wire};

use crate::config::settings::Given;

/// So many subnets of earlier networks are remembered.
const EARLIER: usize = 16;

/// The own lease as it was last held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    /// Its subnets.
    pub key: SubnetKey,
    /// Announced attributes, in the form in which they stand in the store.
    pub value: String,
    /// Its order of creation in the store.
    pub created: u64,
    /// How long it lasts.
    #[serde(default)]
    pub term: Term,
    /// The network configuration under which it was taken, as it stands in the store.
    pub config: String,
    /// Addresses that an operator wants announced, as far as the store told.
    #[serde(default)]
    pub wishes: Dual<IpAddr>,
    /// Addresses that the store announced instead of the node's own.
    #[serde(default)]
    pub overwrites: Dual<IpAddr>,
    /// The addresses that the node was known by, where nobody had named one. Earlier versions did not save them.
    #[serde(default)]
    pub settled: Option<Dual<IpAddr>>,
    /// Subnets that were held before, the last one first: each is asked for again when its network comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Dual<IpNet>>,
}

/// The agent as it last worked: what it was given, and what it chose. A command that comes when it is gone works on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRun {
    /// Its name on this host.
    pub instance: String,
    /// Flags and variables, without secrets.
    pub given: Given,
    /// Name of the uplink.
    pub uplink: String,
    /// The addresses that it sent from.
    pub addrs: Dual<IpAddr>,
    /// The addresses that it announced.
    pub public: Dual<IpAddr>,
}

/// A peer's lease as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPeer {
    /// Its key, `10.5.34.0-24`.
    pub key: String,
    /// Its value, in the form in which it stands in the store.
    pub value: String,
    /// The node's name where the store knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its order of creation in the store.
    pub created: u64,
    /// The turn at which it first announced the MACs that it announces now.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub since: Dual<u64>,
}

impl SavedLease {
    /// A lease and the configuration under which it was taken, to be saved.
    pub fn new(lease: &Lease, config: &str, wishes: Dual<IpAddr>) -> Self {
        Self {
            key: lease.key,
            value: wire::format_attrs(&lease.attrs),
            created: lease.created,
            term: lease.term,
            config: config.to_owned(),
            wishes,
            overwrites: Dual::default(),
            settled: None,
            earlier: Vec::new(),
        }
    }

    /// The addresses that stay this node's as long as the host has them.
    pub fn known_by(&self) -> Dual<IpAddr> {
        let announced = || wire::parse_attrs(self.value.as_bytes()).ok();
        let announced = || announced().map(|attrs| attrs.public);
        self.settled.or_else(announced).unwrap_or_default()
    }

    /// Takes over what was held before.
    pub fn follow(&mut self, before: &Self) {
        let held = std::iter::once(&before.key.0).chain(&before.earlier);
        let own = self.key.0;
        self.earlier = held.filter(|nets| **nets != own).copied().collect();
        self.earlier.dedup();
        self.earlier.truncate(EARLIER);
    }
}

impl SavedPeer {
    /// A peer to be saved.
    pub fn new(lease: &Lease, since: Dual<u64>) -> Self {
        Self {
            since,
            key: lease.key.to_string(),
            value: wire::format_attrs(&lease.attrs),
            node: lease.node.clone(),
            created: lease.created,
        }
    }

    /// The peer as it was.
    ///
    /// # Errors
    /// If its key or value isn't one.
    pub fn lease(&self) -> Result<Lease, wire::WireError> {
        Ok(Lease {
            key: self.key.parse()?,
            attrs: wire::parse_attrs(self.value.as_bytes())?,
            node: self.node.clone(),
            created: self.created,
            term: Term::Leased,
        })
    }
}
