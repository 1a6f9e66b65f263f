//! The place of an attachment in a bridge of the host: what the plugin has set up, written down so that it can be put
//! back.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Mac;

/// A bridge, and an attachment's ports in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bridged {
    /// The bridge's name.
    pub bridge: String,
    /// Its Ethernet address, where it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its MTU in bytes, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// It is in promiscuous mode.
    #[serde(default, skip_serializing_if = "is_off")]
    pub promisc: bool,
    /// It sorts frames by VLAN.
    #[serde(default, skip_serializing_if = "is_off")]
    pub vlan_filtering: bool,
    /// Addresses of gateways, each with the length of its subnet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gateways: BTreeSet<IpNet>,
    /// The interface that has them, where that is not the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The Ethernet address of that interface, which pods know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_mac: Option<Mac>,
    /// The host's end of the attachment's pair, then ports that it shares with others, such as that of a VLAN's gateway.
    pub ports: Vec<Port>,
}

/// A port of a bridge: an interface that is up and in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The interface's name.
    pub name: String,
    /// Frames may leave by the port that they came in by.
    #[serde(default, skip_serializing_if = "is_off")]
    pub hairpin: bool,
    /// No frames to other isolated ports.
    #[serde(default, skip_serializing_if = "is_off")]
    pub isolated: bool,
    /// Its VLANs, where the bridge sorts by them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub vlans: BTreeSet<Vlan>,
    /// It stays in the VLAN that the bridge puts new ports into.
    #[serde(default, skip_serializing_if = "is_off")]
    pub keeps_default_vlan: bool,
    /// The only source address of frames that come in by it, where others are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_source: Option<Mac>,
}

/// A VLAN of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vlan {
    /// Its number.
    pub vid: u16,
    /// Frames without a tag belong to it, and its frames leave without one.
    #[serde(default, skip_serializing_if = "is_off")]
    pub native: bool,
}

impl Bridged {
    /// The interface that has the gateways' addresses.
    pub fn holder(&self) -> &str {
        self.holder.as_deref().unwrap_or(&self.bridge)
    }

    /// Whether each name in it can be an interface's, and the gateways' holder goes with the bridge. Names become parts
    /// of paths below `/proc/sys`.
    pub fn is_sound(&self) -> bool {
        let rest = self.holder().strip_prefix(&*self.bridge);
        let ports = self.ports.iter().map(|port| port.name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && ports.chain([&*self.bridge, self.holder()]).all(is_name)
    }
}

/// By the kernel's rule for names of interfaces. `all` and `default` stand for every interface below `/proc/sys/net`.
pub(crate) fn is_name(name: &str) -> bool {
    let parts = |letter: char| "/:".contains(letter) || letter.is_whitespace();
    let special = ["", ".", "..", "all", "default"].contains(&name);
    !special && name.len() < 16 && !name.contains(parts) && !name.contains(char::is_control)
}

fn is_off(on: &bool) -> bool {
    !on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridged(bridge: &str, holder: Option<&str>, port: &str) -> Bridged {
        Bridged {
            bridge: bridge.to_owned(),
            holder: holder.map(str::to_owned),
            ports: vec![Port {
                name: port.to_owned(),
                ..Port::default()
            }],
            ..Bridged::default()
        }
    }

    #[test]
    fn names_that_no_interface_can_have_are_not_sound() {
        assert!(bridged("cni0", None, "veth1").is_sound());
        assert!(bridged("cni0", Some("cni0.100"), "veth1").is_sound());
        for name in [
            "",
            "all",
            "default",
            "..",
            "a/b",
            "a b",
            "a\n",
            "sixteen-letters.",
        ] {
            assert!(!bridged(name, None, "veth1").is_sound(), "{name:?}");
            assert!(!bridged("cni0", None, name).is_sound(), "{name:?}");
        }
        for holder in ["eth0", "cni1", "cni00", "cni0./../all", "all"] {
            assert!(
                !bridged("cni0", Some(holder), "veth1").is_sound(),
                "{holder}"
            );
        }
    }
}
