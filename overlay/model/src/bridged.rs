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
}

fn is_off(on: &bool) -> bool {
    !on
}
