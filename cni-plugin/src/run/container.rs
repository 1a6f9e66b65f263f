//! Containers as an operator names them, and their namespaces.

use std::path::{Path, PathBuf};

use super::bundles;
use super::cache::Kept;
use super::docker;
use super::endpoint::{absolute, id_of_path};
use super::failure::{Failure, Reason};
use super::found::{Container, State};
use super::process;
use crate::net::namespace::is_same;

/// Where `ip netns add` puts namespaces.
const NAMED: &str = "/run/netns";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The path of a namespace.
    Namespace(PathBuf),
    /// `docker://NAME`, by Docker's socket.
    Docker(String),
    /// `podman://NAME`, by Podman's files.
    Podman(String),
    /// `containerd://[NAMESPACE/]ID`, by containerd's files.
    Containerd(String),
    /// `nerdctl://[NAMESPACE/]NAME`, by nerdctl's and containerd's files.
    Nerdctl(String),
    /// `pid:NUMBER`.
    Process(u32),
}

/// Whether an attachment's container is still the one that was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
    /// What keeps its containers doesn't answer.
    Unknown,
}

impl Named {
    /// Reads what stands on the command line.
    ///
    /// # Errors
    /// When it is none of these forms.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(Reason::Usage, why);
        if let Some(number) = text.strip_prefix("pid:") {
            let number = number.parse().ok().filter(|number| *number > 0);
            let number = number.ok_or_else(|| usage(format!("{text}: want pid:NUMBER")))?;
            return Ok(Self::Process(number));
        }
        let Some((scheme, name)) = text.split_once("://") else {
            return match text {
                "" => Err(usage("an empty name of a container".to_owned())),
                path if path.contains('/') => Ok(Self::Namespace(absolute(path))),
                name => Ok(Self::Namespace(Path::new(NAMED).join(name))),
            };
        };
        // The characters that all engines allow; names become parts of paths.
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
        };
        let parts = match scheme {
            "containerd" | "nerdctl" => 2,
            _ => 1,
        };
        if name.split('/').count() > parts || !name.split('/').all(is_name) {
            let msg = format!("{text}: {name:?} is no container's name");
            return Err(usage(msg));
        }
        let name = name.to_owned();
        match scheme {
            "docker" => Ok(Self::Docker(name)),
            "podman" => Ok(Self::Podman(name)),
            "containerd" => Ok(Self::Containerd(name)),
            "nerdctl" => Ok(Self::Nerdctl(name)),
            other => Err(usage(format!(
                "{other}:// is no engine, want docker://, podman://, containerd://, nerdctl://, pid:NUMBER or a path"
            ))),
        }
    }

    /// Asks for it.
    pub(crate) fn find(&self) -> Container {
        match self {
            Self::Namespace(path) => Container {
                id: Some(id_of_path(&path.to_string_lossy())),
                label: None,
                state: State::Runs(path.clone()),
            },
            Self::Docker(name) => docker::find(name),
            Self::Podman(name) => bundles::podman(Path::new("/"), name),
            Self::Containerd(name) => bundles::containerd(Path::new("/"), name),
            Self::Nerdctl(name) => bundles::nerdctl(Path::new("/"), name),
            Self::Process(number) => of_process(*number),
        }
    }
}

/// Looks whether the namespace of an attachment is still that of its container. Of a process's number and of a path
/// below `/proc` that can't be known by the path, since numbers are used again.
pub(crate) fn life(kept: &Kept) -> Life {
    let (id, netns) = (&kept.endpoint.key.container_id, &kept.endpoint.netns);
    let Some(label) = &kept.endpoint.container else {
        return match tweed_netlink::netns::Netns::open(netns.as_str()) {
            Err(error) if error.is_gone() => Life::Dead,
            Err(_) => Life::Unknown,
            Ok(_) => Life::Alive,
        };
    };
    // By its ID: another container may have the name by now.
    let named = match label.split_once("://") {
        Some((scheme, _)) => Named::parse(&format!("{scheme}://{id}")),
        None => Named::parse(label),
    };
    // nerdctl's names are names alone, its IDs are containerd's.
    let named = named.map(|named| match named {
        Named::Nerdctl(id) => Named::Containerd(id),
        named => named,
    });
    let Ok(found) = named.map(|named| named.find()) else {
        return Life::Unknown;
    };
    match found.state {
        State::Unknown(_) => Life::Unknown,
        State::Runs(path) if found.id.as_ref() == Some(id) && is_same(&path, Path::new(netns)) => {
            Life::Alive
        }
        State::Runs(_) | State::Stopped(_) => Life::Dead,
    }
}

/// A process of no engine. Its ID has when it was started, so that no other one of that number is taken for it.
fn of_process(number: u32) -> Container {
    let label = format!("pid:{number}");
    match process::started(number) {
        Some(ticks) => Container {
            id: Some(format!("pid-{number}-{ticks}")),
            label: Some(label),
            state: State::Runs(process::netns(number)),
        },
        None => Container::gone(label, format!("there is no process {number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_in_these_forms_and_no_others() {
        for (text, named) in [
            (
                "/run/netns/../netns/x",
                Named::Namespace("/run/netns/x".into()),
            ),
            ("x", Named::Namespace("/run/netns/x".into())),
            ("docker://web", Named::Docker("web".into())),
            ("podman://a.b-c_d", Named::Podman("a.b-c_d".into())),
            (
                "containerd://k8s.io/abc",
                Named::Containerd("k8s.io/abc".into()),
            ),
            ("nerdctl://web", Named::Nerdctl("web".into())),
            ("pid:42", Named::Process(42)),
        ] {
            assert_eq!(Named::parse(text), Ok(named), "{text}");
        }
        for text in [
            "",
            "docker://",
            "docker://a/b",
            "docker://../x",
            "docker://a b",
            "docker://-a",
            "containerd://a/b/c",
            "containerd://../a",
            "nerdctl:///a",
            "lxc://a",
            "pid:",
            "pid:0",
            "pid:-1",
            "pid:x",
            "docker://a?b",
        ] {
            let failure = Named::parse(text).unwrap_err();
            assert_eq!(failure.reason, Reason::Usage, "{text}");
        }
    }

    #[test]
    fn a_processs_id_is_none_of_another_ones_of_that_number() {
        let own = std::process::id();
        let found = Named::Process(own).find();
        let id = found.id.unwrap();
        assert!(id.starts_with(&format!("pid-{own}-")), "{id}");
        assert!(matches!(found.state, State::Runs(path) if path.ends_with("ns/net")));
        assert!(Named::Process(u32::MAX).find().id.is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s)(docker://|pid:|containerd://)?.{0,20}") {
            let _ = Named::parse(&text);
        }
    }
}
