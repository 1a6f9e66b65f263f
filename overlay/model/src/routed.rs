//! What the host has of a container that it reaches without a bridge: written down so that it can be put back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Mac;
use crate::bridged::is_name;

/// The host's end of a container's pair, by which a route leads to each of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Routed {
    /// Name of the host's end.
    pub port: String,
    /// Ethernet address of the container's end, which the host's neighbour entries name.
    pub mac: Mac,
    /// The container's addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl Routed {
    /// Whether the name can be an interface's, and the addresses those of a container.
    pub fn is_sound(&self) -> bool {
        let is_host =
            |addr: &IpAddr| !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback();
        is_name(&self.port) && self.mac.is_unicast() && self.addresses.iter().all(is_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_interface_or_container_can_have_is_not_sound() {
        let routed = |port: &str, addr: &str| Routed {
            port: port.to_owned(),
            mac: Mac([2; 6]),
            addresses: [addr.parse().unwrap()].into(),
        };
        assert!(routed("veth1", "10.1.2.3").is_sound());
        for (port, addr) in [
            ("all", "10.1.2.3"),
            ("../x", "10.1.2.3"),
            ("veth1", "0.0.0.0"),
            ("veth1", "127.0.0.1"),
            ("veth1", "ff02::1"),
        ] {
            assert!(!routed(port, addr).is_sound(), "{port} {addr}");
        }
        let zero = Routed {
            mac: Mac([0; 6]),
            ..routed("veth1", "10.1.2.3")
        };
        assert!(!zero.is_sound());
    }
}
