//! One event.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::shown::shortened;
use tweed_model::{Dual, Lease, shown};

use super::kind::Kind;

/// The longest sentence, in bytes: a thousand of them are kept.
const LONGEST: usize = 1_000;

/// An event. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of all events of this agent: it only rises.
    #[serde(default)]
    pub number: u64,
    /// When it happened; the last time, if it did several times.
    #[serde(default)]
    pub at: u64,
    /// When it happened first, if it did several times in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// How often.
    #[serde(default = "once")]
    pub times: u64,
    /// What kind.
    pub kind: Kind,
    /// The node that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Named>,
    /// What it is about beside that: an object of the kernel, a key of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The sentence.
    pub text: String,
}

/// A node, as others know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name, where the store knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its pods' subnets.
    pub subnets: Dual<IpNet>,
    /// The addresses that it announces.
    pub public: Dual<IpAddr>,
}

fn once() -> u64 {
    1
}

impl Event {
    /// An event that happens now. What others wrote into the sentence does nothing to a terminal or a log.
    pub fn new(kind: Kind, text: &str) -> Self {
        Self {
            number: 0,
            at: 0,
            first: None,
            times: once(),
            kind,
            peer: None,
            object: None,
            text: shortened(text, LONGEST).into_owned(),
        }
    }

    /// The same, about the node with this lease.
    #[must_use]
    pub fn of(self, peer: &Lease) -> Self {
        let node = peer.node.as_deref();
        self.of_node(Named {
            node: node.map(|node| shown(node).into_owned()),
            subnets: peer.key.0,
            public: peer.attrs.public,
        })
    }

    /// The same, about a node.
    #[must_use]
    pub fn of_node(self, peer: Named) -> Self {
        let peer = Some(peer);
        Self { peer, ..self }
    }

    /// The same, about an object.
    #[must_use]
    pub fn about(self, object: &str) -> Self {
        let object = Some(shortened(object, LONGEST).into_owned());
        Self { object, ..self }
    }

    /// Whether another one says the same.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.text == other.text && self.peer == other.peer
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
