//! Where a peer is asked.

use std::net::IpAddr;

/// A subnet of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address that it announces.
    pub underlay: IpAddr,
    /// Its own address inside the pod network, where its backend gives it one.
    pub tunnel: Option<IpAddr>,
    /// The largest packet of a pod, in bytes.
    pub mtu: u16,
}
