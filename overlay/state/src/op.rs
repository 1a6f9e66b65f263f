//! One change of the kernel. Ops print in the words of `ip` and `nft`: the log of a pass and `tweedd plan` are lists of
//! them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::{Family, Mac};
use tweed_nft::{Change, ForeignForward};

use super::attached::Repair;
use super::link::Link;
use super::nexthop::{NextHop, NextHopObject};
use super::state::{FdbKey, NeighKey, Route, RouteKey};

/// One change. Puts are "create or replace", deletes tolerate that the object is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Delete an interface.
    DelLink(String),
    /// Create an interface with all its attributes, up if wanted.
    AddLink(String, Link),
    /// Correct MTU, MAC, alias or state of an interface that may stay.
    SetLink(String, Link),
    /// Add an address.
    AddAddr(String, IpNet),
    /// Switch `tx-checksum-ip-generic` of an interface on or off.
    SetTxChecksum(String, bool),
    /// Set a sysctl, by its path below `/proc/sys`.
    SetSysctl(String, String),
    /// Create, replace or adjust our nftables table: one transaction.
    Firewall(Change),
    /// Make another program's FORWARD chain hold exactly these accept rules of ours.
    ForeignForward(Family, ForeignForward),
    /// Remove the nftables table and the accept rules of an instance whose agent is gone.
    Sweep(String),
    /// Put a permanent neighbour entry.
    PutNeigh(NeighKey, Mac),
    /// Put a permanent FDB entry.
    PutFdb(FdbKey, IpAddr),
    /// Put a nexthop object.
    PutNextHop(NextHopObject),
    /// Put a route. It refers to its object; where that could not be put, it is a plain one.
    PutRoute(RouteKey, Route),
    /// Delete a route. The value says which, where several share a key.
    DelRoute(RouteKey, Route),
    /// Delete a nexthop object, and with it what routes lead by it.
    DelNextHop(NextHopObject),
    /// Delete an FDB entry.
    DelFdb(FdbKey, IpAddr),
    /// Delete a neighbour entry.
    DelNeigh(NeighKey),
    /// Delete an address.
    DelAddr(String, IpNet),
    /// Put right what an attachment of a container has on the host.
    Attached(Repair),
}

impl Op {
    /// The interface without which this cannot succeed.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::DelLink(name)
            | Self::AddLink(name, _)
            | Self::SetLink(name, _)
            | Self::SetTxChecksum(name, _)
            | Self::AddAddr(name, _)
            | Self::DelAddr(name, _) => Some(name),
            Self::PutNeigh((name, _), _)
            | Self::DelNeigh((name, _))
            | Self::PutFdb((name, _), _)
            | Self::DelFdb((name, _), _) => Some(name),
            Self::PutNextHop(object) | Self::DelNextHop(object) => Some(&object.dev),
            Self::PutRoute(_, route) | Self::DelRoute(_, route) => match &route.next_hop {
                NextHop::Via { dev, .. } => Some(dev),
                NextHop::Blackhole => None,
            },
            // `net/ipv4/conf/<link>/…`, where the link may be `all`.
            Self::SetSysctl(key, _) => key
                .split('/')
                .nth(3)
                .filter(|link| key.contains("/conf/") && *link != "all"),
            Self::Firewall(_) | Self::ForeignForward(..) | Self::Sweep(_) | Self::Attached(_) => {
                None
            }
        }
    }

    /// The object alone, without the wanted value: what a fight with another program is counted by.
    pub fn object(&self) -> String {
        match self {
            Self::DelLink(name) | Self::AddLink(name, _) | Self::SetLink(name, _) => {
                format!("link {name}")
            }
            Self::AddAddr(name, net) | Self::DelAddr(name, net) => format!("addr {net} dev {name}"),
            Self::SetTxChecksum(name, _) => format!("tx-checksum-ip-generic of {name}"),
            Self::SetSysctl(key, _) => format!("sysctl {key}"),
            Self::Firewall(_) => "nftables table".to_owned(),
            Self::ForeignForward(family, _) => format!("{family} FORWARD accept rules"),
            Self::Sweep(instance) => format!("rules of instance {instance}"),
            Self::PutNeigh((name, addr), _) | Self::DelNeigh((name, addr)) => {
                format!("neigh {addr} dev {name}")
            }
            Self::PutFdb((name, mac), _) | Self::DelFdb((name, mac), _) => {
                format!("fdb {mac} dev {name}")
            }
            Self::PutNextHop(object) | Self::DelNextHop(object) => format!("nexthop {object}"),
            Self::PutRoute(key, _) | Self::DelRoute(key, _) => format!("route {}", key.dst),
            Self::Attached(repair) => repair.object(),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DelLink(name) => write!(f, "delete link {name}"),
            Self::AddLink(name, link) => write!(f, "add link {name} {link}"),
            // The one attribute that a link's own words leave out.
            Self::SetLink(name, link) => write!(f, "set link {name} {link} alias {:?}", link.alias),
            Self::AddAddr(name, net) => write!(f, "add addr {net} dev {name}"),
            Self::DelAddr(name, net) => write!(f, "delete addr {net} dev {name}"),
            Self::SetTxChecksum(name, on) => {
                let value = if *on { "on" } else { "off" };
                write!(f, "ethtool -K {name} tx-checksum-ip-generic {value}")
            }
            Self::SetSysctl(key, value) => write!(f, "set sysctl {key} = {value}"),
            Self::Firewall(change) => write!(f, "{change}"),
            Self::ForeignForward(family, wanted) if wanted.accept.is_empty() => {
                write!(f, "delete {family} FORWARD accept rules")
            }
            Self::ForeignForward(family, wanted) => {
                write!(f, "put {family} FORWARD accept rules: {wanted}")
            }
            Self::Sweep(instance) => write!(
                f,
                "delete nftables table inet {instance} and its FORWARD accept rules, left behind by the agent of another network"
            ),
            Self::PutNeigh((name, addr), mac) => {
                write!(f, "put neigh {addr} lladdr {mac} dev {name} permanent")
            }
            Self::DelNeigh((name, addr)) => write!(f, "delete neigh {addr} dev {name}"),
            Self::PutFdb((name, mac), dst) => {
                write!(f, "put fdb {mac} dst {dst} dev {name} self permanent")
            }
            Self::DelFdb((name, mac), dst) => write!(f, "delete fdb {mac} dst {dst} dev {name}"),
            Self::PutNextHop(object) => write!(f, "put nexthop {object}"),
            Self::DelNextHop(object) => write!(f, "delete nexthop {object}"),
            Self::PutRoute(key, route) => write!(f, "put route {} {route}", key.dst),
            Self::DelRoute(key, route) => write!(f, "delete route {} {route}", key.dst),
            Self::Attached(repair) => write!(f, "{repair}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.next_hop.fmt(f)
    }
}
