//! Where a peer is asked.

use std::net::IpAddr;

use tweed_model::{Family, SubnetKey};

/// A subnet of a peer.
pub type Id = (SubnetKey, Family);

/// Where one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address that it announces.
    pub underlay: IpAddr,
    /// Whether it is behind a tunnel: then its device has the first address of the subnet.
    pub tunnel: bool,
    /// The largest packet of a pod, in bytes.
    pub mtu: u16,
}

impl Target {
    /// Its own address inside the pod network, where it has one.
    pub(crate) fn inside(&self, (key, family): &Id) -> Option<IpAddr> {
        let subnet = key.0.get(*family).filter(|_| self.tunnel);
        subnet.map(|subnet| subnet.network())
    }
}
