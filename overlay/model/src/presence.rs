//! What an agent leaves for the CNI plugins in its folder, `<instance>.agent`: which `subnet.env` is its own, and where it
//! answers while it runs. From that a plugin knows whether the file that it builds pods from still has an agent that keeps
//! the network behind it. flannel has no such thing, and without it nothing is said about the agent.

use std::fmt;

/// Where agents leave it unless configured otherwise.
pub const FOLDER: &str = "/run/tweed";

/// What the names of such files end in.
pub const EXTENSION: &str = "agent";

/// One agent's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// The path of its `subnet.env`.
    pub subnet_file: String,
    /// The path of the socket that it answers on.
    pub socket: String,
    /// Whether it was told to stop, and has.
    pub stopped: bool,
    /// The network namespace in which it removes links that a DEL has set aside, by device and inode.
    pub removes_links_of: Option<(u64, u64)>,
}

impl Presence {
    /// Reads the text. `None` if it isn't one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut presence = Self::default();
        for line in text.lines() {
            match line.split_once('=')? {
                ("subnet-file", path) => path.clone_into(&mut presence.subnet_file),
                ("socket", path) => path.clone_into(&mut presence.socket),
                ("stopped", word) => presence.stopped = word == "true",
                ("removes-links-of", id) => presence.removes_links_of = numbers(id),
                _ => {}
            }
        }
        let whole = !presence.subnet_file.is_empty() && !presence.socket.is_empty();
        whole.then_some(presence)
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "subnet-file={}", self.subnet_file)?;
        writeln!(f, "socket={}", self.socket)?;
        writeln!(f, "stopped={}", self.stopped)?;
        match self.removes_links_of {
            Some((device, inode)) => writeln!(f, "removes-links-of={device}:{inode}"),
            None => Ok(()),
        }
    }
}

/// Two numbers with a colon between them.
fn numbers(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_whole_says_nothing() {
        for text in [
            "",
            "socket=/x\n",
            "subnet-file=/x\nsocket=\n",
            "subnet-file",
        ] {
            assert_eq!(Presence::parse(text), None, "{text}");
        }
        // A later version may say more.
        let more = "subnet-file=/a\nsocket=/b\nmood=good\n";
        assert!(Presence::parse(more).is_some_and(|presence| !presence.stopped));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(subnet_file in "/[^\\n\\r]{0,20}", socket in "/[^\\n\\r]{0,20}", stopped in any::<bool>(), removes_links_of in any::<Option<(u64, u64)>>()) {
            let presence = Presence { subnet_file, socket, stopped, removes_links_of };
            prop_assert_eq!(Presence::parse(&presence.to_string()), Some(presence));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,80}") {
            let _ = Presence::parse(&text);
        }
    }
}
