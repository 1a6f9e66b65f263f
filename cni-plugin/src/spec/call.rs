//! One call of the plugin: the verb and the `CNI_*` variables, validated in the order in which Go's skeleton does it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::args::Args;
use super::cut_links::CutLinks;
use super::error::{CniError, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    /// Remove what belongs to no valid attachment.
    Gc,
    /// Whether ADD could work now.
    Status,
    /// Which versions the plugin speaks.
    Version,
}

impl Verb {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Gc,
        Self::Status,
        Self::Version,
    ];

    /// As in `CNI_COMMAND`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// Whether the verb is about one attachment.
    pub(crate) fn has_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }

    fn requires(self, variable: &str) -> bool {
        match variable {
            "CNI_CONTAINERID" | "CNI_IFNAME" => self.has_attachment(),
            "CNI_NETNS" => matches!(self, Self::Add | Self::Check),
            "CNI_PATH" => self != Self::Version,
            _ => false,
        }
    }
}

/// One end of one network in one container: what every object that we make is known by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Attachment {
    /// The runtime's name of the container.
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    /// The interface in the container.
    pub(crate) ifname: String,
}

/// A verb and its environment.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Container and interface; both empty for verbs that are about the whole network.
    pub(crate) attachment: Attachment,
    /// The container's namespace. DEL may come without.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) args: Args,
    /// Where to look for plugins that we are not.
    pub(crate) path: Vec<PathBuf>,
    /// Whether the container may live in our own namespace (`CNI_NETNS_OVERRIDE`).
    pub(crate) own_netns_allowed: bool,
    /// How many of our processes have called each other to get here.
    pub(crate) depth: u8,
    /// What a DEL removes at its end.
    pub(crate) cut_links: CutLinks,
}

/// In this variable our processes count how deep they call each other, be it by way of other programs.
pub(crate) const DEPTH: &str = "TWEED_CNI_DEPTH";

/// How deep processes of ours may call each other. A plugin calls one for addresses, and that calls none.
const DEEPEST: u8 = 4;

impl Call {
    /// Reads and validates the environment, given as a look-up.
    ///
    /// # Errors
    /// The first malformed variable, else all missing ones at once.
    pub(crate) fn from_env(
        verb: &str,
        env: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, CniError> {
        let verb = Verb::ALL
            .into_iter()
            .find(|known| known.name() == verb)
            .ok_or_else(|| {
                CniError::new(Kind::Environment, format!("unknown CNI_COMMAND: {verb}"))
            })?;
        let text = |variable: &str| {
            env(variable).map_or_else(String::new, |value| value.to_string_lossy().into_owned())
        };
        let attachment = Attachment {
            container_id: text("CNI_CONTAINERID"),
            ifname: text("CNI_IFNAME"),
        };
        if verb.has_attachment() {
            validate(&attachment)?;
        }
        let missing: Vec<&str> = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            .into_iter()
            .filter(|variable| verb.requires(variable) && text(variable).is_empty())
            .collect();
        if !missing.is_empty() {
            let list = missing.join(",");
            let msg = format!("required env variables [{list}] missing");
            return Err(CniError::new(Kind::Environment, msg));
        }
        let set = |variable: &str| env(variable).filter(|value| !value.is_empty());
        let overridden = text("CNI_NETNS_OVERRIDE");
        Ok(Self {
            verb,
            attachment,
            netns: set("CNI_NETNS").map(PathBuf::from),
            args: arguments(verb, &text("CNI_ARGS"))?,
            path: set("CNI_PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
            own_netns_allowed: overridden == "1" || overridden.eq_ignore_ascii_case("true"),
            depth: depth(&text(DEPTH))?,
            cut_links: CutLinks::default(),
        })
    }
}

/// What is removed doesn't depend on them, so that DEL takes any.
fn arguments(verb: Verb, text: &str) -> Result<Args, CniError> {
    match Args::parse(text) {
        Err(error) if verb != Verb::Del => Err(CniError::new(Kind::Environment, error)),
        args => Ok(args.unwrap_or_default()),
    }
}

fn depth(text: &str) -> Result<u8, CniError> {
    let depth = text.parse().unwrap_or_default();
    if depth <= DEEPEST {
        return Ok(depth);
    }
    let msg = format!("plugins call each other in a circle ({DEEPEST} deep, by {DEPTH})");
    Err(CniError::config(msg)
        .details("see what ipam.type and delegate.type name, and what those programs call"))
}

/// Checks that container ID and interface name, where they are given, have the characters that they may have.
///
/// # Errors
/// The first that hasn't.
pub(crate) fn validate(attachment: &Attachment) -> Result<(), CniError> {
    let Attachment {
        container_id,
        ifname,
    } = attachment;
    if !container_id.is_empty() && !is_identifier(container_id) {
        let error = CniError::new(Kind::Environment, "invalid characters in containerID");
        return Err(error.details(container_id));
    }
    if ifname.is_empty() {
        return Ok(());
    }
    let wrong = |msg: &str| CniError::new(Kind::Environment, msg);
    if ifname.len() > 15 {
        let error = wrong("interface name is too long");
        return Err(error.details("interface name should be less than 16 characters"));
    }
    if ifname == "." || ifname == ".." {
        return Err(wrong("interface name is . or .."));
    }
    if ifname
        .chars()
        .any(|c| c == '/' || c == ':' || c.is_whitespace())
    {
        return Err(wrong(
            "interface name contains / or : or whitespace characters",
        ));
    }
    Ok(())
}

/// Whether a container ID or network name has only the characters that the specification allows. They are file names
/// to us, so that this is also what keeps `..` out.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: [(&str, &str); 4] = [
        ("CNI_CONTAINERID", "abc"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/a:/b"),
    ];

    fn call(verb: &str, changes: &[(&str, &str)]) -> Result<Call, CniError> {
        let env = |name: &str| {
            let mut all = FULL.iter().chain(changes);
            let (_, value) = all.rfind(|(key, _)| *key == name)?;
            Some(OsString::from(value))
        };
        Call::from_env(verb, &env)
    }

    fn message(verb: &str, changes: &[(&str, &str)]) -> (u32, String) {
        let error = call(verb, changes).unwrap_err();
        (error.kind.code(), error.to_string())
    }

    #[test]
    fn each_verb_requires_the_variables_of_the_specification() {
        let empty: Vec<(&str, &str)> = FULL.iter().map(|(key, _)| (*key, "")).collect();
        let all = "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing";
        for (verb, expected) in [
            ("ADD", all),
            ("CHECK", all),
            (
                "DEL",
                "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing",
            ),
            ("GC", "required env variables [CNI_PATH] missing"),
            ("STATUS", "required env variables [CNI_PATH] missing"),
        ] {
            assert_eq!(message(verb, &empty), (4, expected.to_owned()), "{verb}");
        }
        assert!(call("VERSION", &empty).is_ok());
        assert!(call("DEL", &[("CNI_NETNS", "")]).unwrap().netns.is_none());
    }

    #[test]
    fn malformed_variables_are_named_with_the_text_of_the_reference() {
        let name = "interface name contains / or : or whitespace characters";
        let long = "interface name is too long; interface name should be less than 16 characters";
        for (variable, value, expected) in [
            (
                "CNI_CONTAINERID",
                "a/b",
                "invalid characters in containerID; a/b",
            ),
            (
                "CNI_CONTAINERID",
                "-a",
                "invalid characters in containerID; -a",
            ),
            ("CNI_IFNAME", "0123456789abcdef", long),
            ("CNI_IFNAME", ".", "interface name is . or .."),
            ("CNI_IFNAME", "..", "interface name is . or .."),
            ("CNI_IFNAME", "a/b", name),
            ("CNI_IFNAME", "a:b", name),
            ("CNI_IFNAME", "a\u{2003}b", name),
            ("CNI_ARGS", "x", "ARGS: invalid pair \"x\" (want KEY=VALUE)"),
            (
                "TWEED_CNI_DEPTH",
                "5",
                "plugins call each other in a circle (4 deep, by TWEED_CNI_DEPTH); \
                 see what ipam.type and delegate.type name, and what those programs call",
            ),
        ] {
            let code = if variable == DEPTH { 7 } else { 4 };
            assert_eq!(
                message("ADD", &[(variable, value)]),
                (code, expected.to_owned())
            );
        }
        assert!(call("DEL", &[("CNI_ARGS", "x")]).is_ok());
        assert_eq!(call("ADD", &[(DEPTH, "x")]).unwrap().depth, 0);
        assert_eq!(call("ADD", &[(DEPTH, "4")]).unwrap().depth, 4);
        assert_eq!(
            message("FROB", &[]),
            (4, "unknown CNI_COMMAND: FROB".to_owned())
        );
    }

    #[test]
    fn long_container_ids_are_allowed() {
        for length in [1, 64, 128, 250] {
            let id = "a".repeat(length);
            let call = call("ADD", &[("CNI_CONTAINERID", &id)]).unwrap();
            assert_eq!(call.attachment.container_id, id);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_environment_makes_the_reader_panic(values in proptest::collection::vec("(?s).{0,20}", 5)) {
            let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"];
            let changes: Vec<(&str, &str)> =
                names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let _ = call("ADD", &changes);
        }
    }
}
