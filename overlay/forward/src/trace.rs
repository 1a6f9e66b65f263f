//! A look at single decisions, for debugging: of the packets to or from a prefix, one in so many, as long as somebody
//! asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::packet::Packet;
use super::reason::Reason;

/// Which packets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Source or destination is in here.
    pub prefix: IpNet,
    /// Of these, one in so many; at least 1.
    pub every: u64,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a pod to a peer.
    Out,
    /// From a peer to a pod.
    In,
}

impl Way {
    /// The way that an answer goes.
    pub fn other(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent to a peer.
    Sent(SocketAddr),
    /// Sent to a peer in fragments.
    Fragmented(SocketAddr),
    /// Given to the device.
    Delivered,
    /// Dropped, and its sender told.
    Answered(Reason),
    /// Dropped.
    Dropped(Reason),
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Which way the packet went.
    pub way: Way,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol's number.
    pub protocol: u8,
    /// Its length in bytes: of a super-packet, that of the whole.
    pub len: u16,
    /// For one from the network, who sent the datagram.
    pub sender: Option<IpAddr>,
    /// What was decided.
    pub verdict: Verdict,
}

impl Filter {
    /// Whether a packet is to or from the prefix.
    pub fn takes(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.prefix.contains(&source) || self.prefix.contains(&destination)
    }
}

impl Traced {
    /// A decision about a packet.
    pub fn new(way: Way, packet: &Packet, sender: Option<IpAddr>, verdict: Verdict) -> Self {
        Self {
            way,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            len: packet.len,
            sender,
            verdict,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(peer) => write!(f, "sent to {peer}"),
            Self::Fragmented(peer) => write!(f, "sent to {peer} in fragments"),
            Self::Delivered => f.write_str("given to the device"),
            Self::Answered(reason) => write!(f, "dropped, and its sender told: {reason}"),
            Self::Dropped(reason) => write!(f, "dropped: {reason}"),
        }
    }
}
