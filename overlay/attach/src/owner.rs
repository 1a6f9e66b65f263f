//! The owner of an element in the plugins' table, as its comment.

use std::fmt;

use tweed_nft::fingerprint::fnv1a;

/// The owner of an element: one interface of one container in one network. Prints as `network/container/interface`, parts
/// too long for a comment shortened to their beginning and a hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    network: String,
    container: String,
    ifname: String,
}

/// Longest parts of a comment: with two slashes they stay within what nft prints. A container id is 64 digits.
const NETWORK_MAX: usize = 40;
const CONTAINER_MAX: usize = 70;
const IFNAME_MAX: usize = 15;

impl Owner {
    /// The owner with these names of the CNI call.
    pub fn new(network: &str, container: &str, ifname: &str) -> Self {
        Self {
            network: shorten(network, NETWORK_MAX),
            container: shorten(container, CONTAINER_MAX),
            ifname: shorten(ifname, IFNAME_MAX),
        }
    }

    /// Reads a comment back.
    pub fn parse(comment: &str) -> Option<Self> {
        let mut parts = comment.split('/').map(str::to_owned);
        let owner = Self {
            network: parts.next()?,
            container: parts.next()?,
            ifname: parts.next()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether it is an interface of this container in this network.
    pub fn is_of(&self, network: &str, container: &str) -> bool {
        self.is_in(network) && self.container == shorten(container, CONTAINER_MAX)
    }

    /// Whether it belongs to the network of this name.
    pub fn is_in(&self, network: &str) -> bool {
        self.network == shorten(network, NETWORK_MAX)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.ifname)
    }
}

/// The name where it is short enough, else its beginning and a hash of all of it. Slashes, which CNI names don't have,
/// can't be mistaken for the separator.
fn shorten(name: &str, max: usize) -> String {
    if name.len() <= max && !name.contains(['/', '"', '\\']) && !name.contains(char::is_control) {
        return name.to_owned();
    }
    let hash = format!("{:016x}", fnv1a(name.as_bytes()));
    let keep = max.saturating_sub(hash.len() + 1);
    let mut short: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(keep)
        .collect();
    if keep > 0 {
        short.push('~');
    }
    short.push_str(&hash[..hash.len().min(max)]);
    short
}
