//! Records of attachments: the plugin writes down what it sets up on the host, so that the agent can restore it when
//! another program removes or changes it. They lie in `/run`: a reboot ends kernel objects and records alike.
//!
//! A record is written after the objects that it lists, or, for host ports and masquerading, right before. It is
//! withdrawn before any of them is removed: a missing object without a record is no damage.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::{Bridged, Routed};
use tweed_nft::fingerprint::fnv1a;

use super::{Owner, Publication};

/// The routing protocol of the host's routes to containers that are in no bridge: `ip route show proto 86`.
pub const ROUTE_PROTOCOL: u8 = 86;

/// The folder of records, one file each, unless the plugin is configured otherwise.
pub const RECORDS_DIR: &str = "/run/tweed/cni";

/// The folder, within that of records, in which a plugin with another folder for its records points to it.
pub const ELSEWHERE: &str = "elsewhere";

/// A file beside the records: a plugin of a version before has set `route_localnet`, with which packets to 127.0.0.1 may
/// come in. The switch is to be off again, and the table's rule against them is wanted until then, with or without host
/// ports.
pub const LOOPBACK_OPEN: &str = "loopback-open";

/// A pointer to another folder with records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderPointer {
    /// Path of the folder.
    pub folder: PathBuf,
    /// The host's network namespace as device and inode: hosts of a lab may share `/run`.
    pub netns: (u64, u64),
}

impl FolderPointer {
    /// Reads a file's text. `None` when it is no such pointer.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The file's text.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// One attachment's masquerading, and its place in a bridge or without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
    /// Addresses that are masqueraded, each with the length of its own network.
    pub masquerade: Vec<IpNet>,
    /// Its ports, and their bridge. Earlier versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridged: Option<Bridged>,
    /// What leads to it where there is no bridge. Earlier versions pass it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<Routed>,
    /// Where the container's network namespace was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns: String,
}

impl Record {
    /// Owner of the elements.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.network, &self.container_id, &self.ifname)
    }

    /// Reads a file's text. `None` when it is no record, or names interfaces that there can't be.
    pub fn parse(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        let sound = record.bridged.as_ref().is_none_or(Bridged::is_sound);
        let leads = record.routed.as_ref().is_none_or(Routed::is_sound);
        (sound && leads).then_some(record)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The host ports of an attachment: a separate file, since another plugin writes it, at another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRecord {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
    /// Where the container's network namespace was. Once it is gone, its ports are free.
    pub netns: String,
    /// Host ports that lead to the container.
    #[serde(rename = "hostPorts")]
    pub publication: Publication,
}

impl PortRecord {
    /// Owner of the elements.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.network, &self.container_id, &self.ifname)
    }

    /// Reads a file's text. `None` when it is no record of this kind.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The file's text.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The ending of a record's name; other files in the folder are none.
pub const ENDING: &str = ".json";
/// The ending of a record's name while its attachment is being removed. The file stays until the end, so that the next
/// removal finds one that was interrupted.
const LEAVING: &str = ".leaving";

/// The name of a record whose attachment is being removed.
pub fn leaving(record: &Path) -> PathBuf {
    let mut name = record.as_os_str().to_owned();
    name.push(LEAVING);
    name.into()
}

/// The name of an owner's file of host ports.
pub fn port_file_name(owner: &Owner) -> String {
    format!("{:016x}.ports.json", fnv1a(owner.to_string().as_bytes()))
}

/// The name of an owner's file: always short enough, whatever the names of network and container.
pub fn file_name(owner: &Owner) -> String {
    format!("{:016x}.json", fnv1a(owner.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use tweed_model::Port;

    use super::*;

    #[test]
    fn a_record_survives_its_file() {
        let record = Record {
            network: "cbr0".into(),
            container_id: "abc".into(),
            ifname: "eth0".into(),
            masquerade: vec!["10.1.2.3/24".parse().unwrap()],
            bridged: None,
            routed: None,
            netns: String::new(),
        };
        let text = record.render();
        assert_eq!(
            text,
            r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","masquerade":["10.1.2.3/24"]}"#
        );
        assert_eq!(Record::parse(&text), Some(record.clone()));
        assert_eq!(Record::parse(&text[1..]), None);
        assert_eq!(record.owner(), Owner::new("cbr0", "abc", "eth0"));
    }

    #[test]
    fn the_place_in_a_bridge_survives_its_file_and_an_earlier_version_reads_the_rest() {
        let record = Record {
            network: "cbr0".into(),
            container_id: "abc".into(),
            ifname: "eth0".into(),
            masquerade: Vec::new(),
            bridged: Some(Bridged {
                bridge: "cni0".into(),
                mtu: Some(1450),
                gateways: ["10.1.2.1/24".parse().unwrap()].into(),
                ports: vec![Port {
                    name: "veth1".into(),
                    hairpin: true,
                    ..Port::default()
                }],
                ..Bridged::default()
            }),
            routed: None,
            netns: "/run/netns/a".into(),
        };
        let text = record.render();
        assert_eq!(
            text,
            r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","masquerade":[],"bridged":{"bridge":"cni0","mtu":1450,"gateways":["10.1.2.1/24"],"ports":[{"name":"veth1","hairpin":true}]},"netns":"/run/netns/a"}"#
        );
        assert_eq!(Record::parse(&text), Some(record));
    }

    #[test]
    fn what_leads_to_a_container_without_a_bridge_survives_its_file() {
        let record = Record {
            network: "cbr0".into(),
            container_id: "abc".into(),
            ifname: "eth0".into(),
            masquerade: Vec::new(),
            bridged: None,
            routed: Some(Routed {
                port: "veth1".into(),
                mac: tweed_model::Mac([2; 6]),
                addresses: ["10.1.2.3".parse().unwrap()].into(),
            }),
            netns: String::new(),
        };
        let text = record.render();
        assert_eq!(
            text,
            r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","masquerade":[],"routed":{"port":"veth1","mac":"02:02:02:02:02:02","addresses":["10.1.2.3"]}}"#
        );
        assert_eq!(Record::parse(&text), Some(record));
        assert_eq!(Record::parse(&text.replace("veth1", "all")), None);
    }

    #[test]
    fn what_names_other_than_interfaces_is_no_record() {
        let text = |holder| {
            format!(
                r#"{{"network":"n","containerID":"c","ifname":"e","masquerade":[],"bridged":{{"bridge":"cni0","holder":"{holder}","ports":[{{"name":"veth1"}}]}}}}"#
            )
        };
        assert!(Record::parse(&text("cni0.7")).is_some());
        assert_eq!(Record::parse(&text("all")), None);
        assert_eq!(Record::parse(&text("../../kernel")), None);
    }

    #[test]
    fn every_owner_has_a_file_of_its_own() {
        let one = file_name(&Owner::new("cbr0", "abc", "eth0"));
        let two = file_name(&Owner::new("cbr0", "abc", "net1"));
        assert_ne!(one, two);
        assert_eq!(one.len(), 21);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "(?s).{0,80}", key in "[a-zA-Z]{0,12}", value in "null|-1|\"\"|\\[\\{\\}\\]|\\{\\}") {
            for text in [text, format!(r#"{{"network":"n","containerID":"c","ifname":"e","netns":"","{key}":{value}}}"#)] {
                let _ = Record::parse(&text);
                let _ = PortRecord::parse(&text);
            }
        }
    }
}
