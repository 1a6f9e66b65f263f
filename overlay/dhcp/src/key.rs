//! The name of a lease: one interface of one container in one network. Pure.

use serde::{Deserialize, Serialize};

/// The longest text of a client id, in bytes: with its type it is 255.
const LONGEST: usize = 254;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub container: String,
    pub network: String,
    pub interface: String,
}

impl Key {
    /// The value of option 61: Go's plugin has the same, so that a server takes a client of either for the other. Where
    /// that one cuts the text, its hash is at the end here: two long names that begin alike are two clients.
    pub fn client_id(&self) -> Vec<u8> {
        let text = self.to_string();
        let mut id = vec![0];
        match text.len() {
            ..=LONGEST => id.extend(text.bytes()),
            _ => {
                let hash = format!("{:016x}", hash(&text));
                id.extend(text.bytes().take(LONGEST - hash.len()));
                id.extend(hash.bytes());
            }
        }
        id
    }

    /// The name of the file that keeps the lease.
    pub fn file_name(&self) -> String {
        format!("{:016x}.json", hash(&self.to_string()))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.container, self.network, self.interface)
    }
}

/// FNV-1a. Stable for ever, since files are named by it.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str, interface: &str) -> Key {
        Key {
            container: container.into(),
            network: "net".into(),
            interface: interface.into(),
        }
    }

    #[test]
    fn the_client_id_is_that_of_go_and_differs_for_long_names() {
        assert_eq!(key("pod", "eth0").client_id(), b"\0pod/net/eth0");
        let long = "a".repeat(250);
        let ids = ["eth0", "eth1"].map(|interface| key(&long, interface).client_id());
        assert_eq!(ids[0].len(), 255);
        assert_ne!(ids[0], ids[1]);
    }
}
