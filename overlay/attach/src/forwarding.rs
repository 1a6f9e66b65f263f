//! What the host forwards for an attachment: addresses, and the bridge that is kept apart. Its record. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tweed_nft::fingerprint::fnv1a;

use super::Owner;

/// The operator's chain, which is asked first, unless a configuration names another.
pub const ADMIN_CHAIN: &str = "CNI-ADMIN";

/// The longest name of a chain that iptables takes, in bytes.
pub const LONGEST_CHAIN: usize = 28;

/// The longest name of an interface, in bytes.
const LONGEST_INTERFACE: usize = 15;

/// What comes to the containers of a bridge from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Nothing from other bridges that have this too.
    SameBridge,
    /// Nor from each other.
    Isolated,
}

/// What the host forwards for an attachment. A file of its own, since another plugin writes it, at another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardRecord {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
    /// Where the container's network namespace was.
    #[serde(default)]
    pub netns: String,
    /// The addresses that the host forwards for.
    pub forwarded: BTreeSet<IpAddr>,
    /// The operator's chain.
    pub admin_chain: String,
    /// The bridge that is kept apart, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<(String, Isolation)>,
}

impl ForwardRecord {
    /// The attachment.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.network, &self.container_id, &self.ifname)
    }

    /// Reads a file's text. `None` when it is no record of this kind, or names a chain or a bridge that there can't be.
    pub fn parse(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        let bridge = record.isolated.as_ref().map(|(bridge, _)| bridge);
        let sound = is_chain_name(&record.admin_chain) && bridge.is_none_or(|name| is_name(name));
        sound.then_some(record)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The rules in words.
    pub fn words(&self) -> String {
        let addrs: Vec<String> = self.forwarded.iter().map(ToString::to_string).collect();
        let mut words = addrs.join(", ");
        if let Some((bridge, isolation)) = &self.isolated {
            let policy = isolation.policy();
            words += &format!(", bridge {bridge} {policy}");
        }
        words
    }
}

impl Isolation {
    /// The name of the policy in a configuration.
    pub fn policy(self) -> &'static str {
        match self {
            Self::SameBridge => "same-bridge",
            Self::Isolated => "isolated",
        }
    }
}

/// The name of an owner's file of what is forwarded.
pub fn forward_file_name(owner: &Owner) -> String {
    format!("{:016x}.firewall.json", fnv1a(owner.to_string().as_bytes()))
}

/// Whether a chain may have this name.
pub fn is_chain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST_CHAIN).contains(&name.len())
        && name.chars().all(is_plain)
        && !name.starts_with('-')
}

fn is_name(interface: &str) -> bool {
    (1..=LONGEST_INTERFACE).contains(&interface.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ForwardRecord {
        ForwardRecord {
            network: "cbr0".into(),
            container_id: "abc".into(),
            ifname: "eth0".into(),
            netns: "/run/netns/a".into(),
            forwarded: ["10.1.2.3", "fd00::3"]
                .map(|addr| addr.parse().unwrap())
                .into(),
            admin_chain: ADMIN_CHAIN.into(),
            isolated: Some(("cni0".into(), Isolation::SameBridge)),
        }
    }

    #[test]
    fn a_record_survives_its_file() {
        let text = record().render();
        assert_eq!(
            text,
            r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","netns":"/run/netns/a","forwarded":["10.1.2.3","fd00::3"],"adminChain":"CNI-ADMIN","isolated":["cni0","same-bridge"]}"#
        );
        assert_eq!(ForwardRecord::parse(&text), Some(record()));
        let words = "10.1.2.3, fd00::3, bridge cni0 same-bridge";
        assert_eq!(record().words(), words);
    }

    #[test]
    fn what_names_no_chain_or_no_interface_is_no_record() {
        for chain in ["", "-A", "a b", "abcdefghijklmnopqrstuvwxyz123"] {
            let record = ForwardRecord {
                admin_chain: chain.into(),
                ..record()
            };
            assert_eq!(ForwardRecord::parse(&record.render()), None, "{chain}");
        }
        for bridge in ["", "longer-than-any-interface"] {
            let record = ForwardRecord {
                isolated: Some((bridge.into(), Isolation::Isolated)),
                ..record()
            };
            assert_eq!(ForwardRecord::parse(&record.render()), None, "{bridge}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,80}", value in "null|-1|\"\"|\\[\"x\"\\]|\\{\\}") {
            let with = format!(r#"{{"network":"n","containerID":"c","ifname":"e","adminChain":"a","forwarded":{value}}}"#);
            for text in [text, with] {
                let _ = ForwardRecord::parse(&text);
            }
        }
    }
}
