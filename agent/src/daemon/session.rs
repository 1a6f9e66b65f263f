//! What stays the same until something forces a new session: another configuration, another uplink, another lease.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_backend::Backends;
use tweed_model::{Dual, Lease, LocalNode, NetworkConfig, Subnets};
use tweed_store::Request;

use crate::config::network_notes::notes;
use crate::files::state_dir::SavedLease;
use crate::host::uplink::Wanted;

pub struct Session {
    /// The configuration's text, to notice a change.
    pub config_text: String,
    /// Its keys that mean nothing.
    pub unknown: Vec<String>,
    /// The configuration.
    pub config: NetworkConfig,
    /// The backends with their options.
    pub backends: Backends,
    pub node: LocalNode,
    pub lease: Lease,
    /// What was asked for, to ask again.
    pub request: Request,
    /// MTU of the pods' interfaces in bytes.
    pub mtu: u32,
    /// Addresses that an operator wants announced, as the store told.
    pub wishes: Dual<IpAddr>,
    /// How the uplink is chosen, with these wishes.
    pub uplink: Wanted,
    /// The addresses that this node is known by from now on, where nobody named one.
    pub settled: Dual<IpAddr>,
    /// What cuts the network into subnets: this node, or the store.
    pub cut_by: Subnets,
    /// Addresses of the store's servers.
    pub servers: BTreeSet<IpAddr>,
}

impl Session {
    /// The part that is to survive a reboot.
    pub fn saved(&self) -> SavedLease {
        SavedLease {
            overwrites: self.uplink.overwrites,
            settled: Some(self.settled),
            ..SavedLease::new(&self.lease, &self.config_text, self.wishes)
        }
    }

    /// The networks that pods are in.
    pub fn networks(&self) -> Vec<IpNet> {
        let pools = self.config.pools.values();
        pools.map(|pool| pool.network).collect()
    }

    /// What differs in another one, if the kernel and the other nodes would notice. The host beside the overlay is no
    /// part of it.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let (node, new) = (&self.node, &other.node);
        // That the uplink has lost its learned route, or has learned one, is no other uplink.
        let mut uplink = new.uplink.clone();
        uplink.learned_default = node.uplink.learned_default;
        if self.config != other.config || self.backends != other.backends || self.mtu != other.mtu {
            Some("the network configuration changed")
        } else if self.lease.key != other.lease.key {
            Some("the store gave another lease")
        } else if node.uplink != uplink || node.public != new.public {
            Some("the uplink changed")
        } else if self.request.attrs != other.request.attrs {
            Some("this node announces something else")
        } else {
            None
        }
    }

    /// Logs once what may be a mistake in the configuration.
    pub fn remark(&self) {
        for key in &self.unknown {
            tracing::warn!(key, "network configuration: unknown key, ignored");
        }
        let uplink = &self.node.uplink;
        let uplink = (uplink.name.clone(), uplink.mtu);
        for note in notes(&self.config_text, &self.config, Some(&uplink), &[]) {
            tracing::warn!("network configuration: {note}");
        }
    }
}

/// Families for display: `10.244.1.0/24, fd00::/64`.
pub fn join<T: ToString>(dual: &Dual<T>) -> String {
    let texts: Vec<String> = dual.values().map(ToString::to_string).collect();
    texts.join(", ")
}
