//! One repair of an attachment on the host. Prints in the words of `ip` and `nft`, as every operation does.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::Mac;

use super::held::{Pair, PodBridge, PodPort};

/// So many links are named.
const NAMED: usize = 3;

/// A repair. All but [`Repair::Sweep`] and [`Repair::RemoveLinks`] are "create or replace".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Make a bridge.
    AddBridge(String, PodBridge),
    /// Put a bridge right.
    SetBridge(String, PodBridge),
    /// Put the pair of a VLAN's gateway, and its port into its bridge.
    PutPair(String, Pair, PodPort),
    /// Put a port into its bridge, up, with its flags and VLANs. The last value names its attachment.
    SetPort(String, PodPort, String),
    /// Add a gateway's address.
    AddAddr(String, IpNet),
    /// Have a route lead to a container's address.
    AddRoute(IpNet, String),
    /// Put the neighbour entry of a container's address.
    PutNeigh(String, IpAddr, Mac),
    /// Set a switch of a bridge, or of the host's end.
    SetSysctl(String, String),
    /// Put the rules of the plugins' nftables table.
    Rules,
    /// Masquerade addresses of an attachment.
    Masquerade(String, Vec<IpNet>),
    /// Drop frames that come in by an attachment's port with another source address.
    Source(String, String, Mac),
    /// Make host ports lead to an attachment.
    HostPorts(String, String),
    /// Forward what an attachment sends, and answers to it.
    Forward(String, String),
    /// Remove what is left of an attachment whose container is gone.
    Sweep(String),
    /// Delete links that a DEL has set aside.
    RemoveLinks(BTreeSet<String>),
}

impl Repair {
    /// The object alone, by which fights with other programs are counted.
    pub fn object(&self) -> String {
        match self {
            Self::AddBridge(name, _)
            | Self::SetBridge(name, _)
            | Self::PutPair(name, ..)
            | Self::SetPort(name, ..) => format!("link {name}"),
            Self::AddAddr(name, net) => format!("addr {net} dev {name}"),
            Self::AddRoute(dst, _) => format!("route {dst}"),
            Self::PutNeigh(name, addr, _) => format!("neigh {addr} dev {name}"),
            Self::SetSysctl(key, _) => format!("sysctl {key}"),
            Self::Rules => "nftables table tweed-cni".to_owned(),
            Self::Masquerade(owner, _) => format!("masquerading of {owner}"),
            Self::Source(owner, ..) => format!("source address of {owner}"),
            Self::HostPorts(owner, _) => format!("host ports of {owner}"),
            Self::Forward(owner, _) => format!("forwarding of {owner}"),
            Self::Sweep(owner) => format!("attachment {owner}"),
            Self::RemoveLinks(_) => "links that DEL has set aside".to_owned(),
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddBridge(name, bridge) => write!(f, "add link {name} type bridge{bridge}"),
            Self::SetBridge(name, bridge) => write!(f, "set link {name}{bridge}"),
            Self::PutPair(name, pair, port) => write!(f, "put pair {name} and {}{port}", pair.port),
            Self::SetPort(name, port, owner) => write!(f, "set link {name}{port}, of {owner}"),
            Self::AddAddr(name, net) => write!(f, "add addr {net} dev {name}"),
            Self::AddRoute(dst, name) => write!(f, "add route {dst} dev {name}"),
            Self::PutNeigh(name, addr, mac) => {
                write!(f, "put neigh {addr} lladdr {mac} dev {name}")
            }
            Self::SetSysctl(key, value) => write!(f, "set sysctl {key} = {value}"),
            Self::Rules => f.write_str("put the rules of nftables table inet tweed-cni"),
            Self::Masquerade(owner, addrs) => {
                let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
                write!(f, "masquerade {} of {owner}", addrs.join(", "))
            }
            Self::Source(owner, port, mac) => {
                write!(
                    f,
                    "drop frames by {port} that are not from {mac} of {owner}"
                )
            }
            Self::HostPorts(owner, ports) => write!(f, "put host ports {ports} of {owner}"),
            Self::Forward(owner, what) => write!(f, "forward {what} of {owner}"),
            Self::Sweep(owner) => {
                write!(
                    f,
                    "delete rules and records of {owner}, whose container is gone"
                )
            }
            Self::RemoveLinks(links) => {
                let named: Vec<&str> = links.iter().take(NAMED).map(String::as_str).collect();
                write!(f, "delete links {}", named.join(", "))?;
                match links.len() - named.len() {
                    0 => {}
                    more => write!(f, " and {more} more")?,
                }
                f.write_str(", which DEL has set aside")
            }
        }
    }
}

impl fmt::Display for PodBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        for (word, on) in [
            (" promisc on", self.promisc),
            (" vlan_filtering 1", self.vlan_filtering),
            (" up", self.up),
        ] {
            f.write_str(if on { word } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for PodPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bridge) = &self.bridge {
            write!(f, " master {bridge}")?;
        }
        let word = |on| if on { "on" } else { "off" };
        let (hairpin, isolated) = (word(self.hairpin), word(self.isolated));
        f.write_str(if self.up { " up" } else { "" })?;
        // Only a bridge has them.
        if self.bridge.is_some() {
            write!(f, " hairpin {hairpin} isolated {isolated}")?;
        }
        for vlan in &self.vlans {
            let native = if vlan.native { " pvid untagged" } else { "" };
            write!(f, " vlan {}{native}", vlan.vid)?;
        }
        Ok(())
    }
}
