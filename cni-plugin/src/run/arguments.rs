//! The command line, in the order that cnitool has: verb, network, container.

use std::path::PathBuf;
use std::time::Duration;

use super::failure::{Failure, Reason};
use crate::spec::{Attachment, Verb};

/// How long a plugin may take unless the command line says otherwise.
const DEADLINE: Duration = Duration::from_secs(120);

/// Which program we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `tweed run`.
    Run,
    /// Does what cnitool does, and no more.
    Cnitool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) style: Style,
    pub(crate) verb: Verb,
    /// A name, or a file.
    pub(crate) network: String,
    /// Empty for verbs about the whole network.
    pub(crate) container: String,
    pub(crate) ifname: Option<String>,
    /// The container's ID in place of the one that follows from its name.
    pub(crate) id: Option<String>,
    pub(crate) deadline: Duration,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) conf_dir: Option<PathBuf>,
    /// What GC keeps in any case.
    pub(crate) keep: Vec<Attachment>,
    /// GC keeps nothing else.
    pub(crate) all: bool,
}

pub(crate) const HELP: &str = "\
Attaches containers to CNI networks by hand, as a container runtime does.

usage: tweed run add|del|check <network> <container> [flags]
       tweed run gc|status|version <network> [flags]

network     its name in a list of the folder, or a file (.conflist, .conf, .json);
            tweed: the list with the plugin tweed or flannel, whatever its name
container   a path or name of a network namespace, docker://NAME, podman://NAME,
            containerd://[NAMESPACE/]ID, nerdctl://NAME or pid:NUMBER

  -i, --ifname NAME     interface in the container; CNI_IFNAME, else eth0 in a namespace
                        that is named by its path, and in others the first free of net1, net2, …
      --timeout SECONDS a plugin that takes longer is killed; 120, and 0 is no limit
      --id ID           the container's ID (CNI_CONTAINERID), if another runtime attached it
      --keep ID/IFNAME  gc: keep this attachment too; may be repeated
      --all             gc: keep no others, not even those of live containers
      --conf-dir DIR    folder of networks; NETCONFPATH, else /etc/cni/net.d
      --cache-dir DIR   folder of results, which runtimes share; /var/lib/cni
  -h, --help

environment: NETCONFPATH, CNI_PATH (folders of plugins; /opt/cni/bin), CNI_IFNAME,
CNI_ARGS (K=V;K=V), CAP_ARGS (JSON: values of capabilities), DOCKER_HOST (unix://PATH)

exit codes: 0 done, 1 a plugin or the host reported an error, 2 wrong usage,
3 no such network, 4 no such container or it does not run, 5 a plugin is missing,
6 a plugin took too long; 11, 50 and 51 are plugins' own: try again later,
and STATUS: no container can be attached, and running ones are affected too.
Called by the name cnitool it is cnitool: same arguments, 1 for every error.
";

const CNITOOL_HELP: &str = "\
usage: cnitool add|check|del|gc|status <network-name> <netns> [-i|--ifname NAME]

As the CNI project's cnitool; see `tweed run --help` for what is read from the
environment, and for more flags.
";

impl Style {
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Run => HELP,
            Self::Cnitool => CNITOOL_HELP,
        }
    }
}

impl Order {
    /// Reads the command line. `None` is a wish for help.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(style: Style, arguments: &[String]) -> Result<Option<Self>, Failure> {
        let mut order = Self {
            style,
            verb: Verb::Version,
            network: String::new(),
            container: String::new(),
            ifname: None,
            id: None,
            deadline: match style {
                Style::Run => DEADLINE,
                Style::Cnitool => Duration::MAX,
            },
            cache_dir: None,
            conf_dir: None,
            keep: Vec::new(),
            all: false,
        };
        let mut words = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "-h" || argument == "--help" || words.is_empty() && argument == "help" {
                return Ok(None);
            }
            if !argument.starts_with('-') {
                words.push(argument.as_str());
            } else if argument == "--all" {
                order.all = true;
            } else {
                let (flag, value) = match argument.split_once('=') {
                    Some((flag, value)) => (flag, Some(value.to_owned())),
                    None => (argument.as_str(), arguments.next().cloned()),
                };
                let value = value.filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| usage(format!("{flag} has no value")))?;
                order.set(flag, value)?;
            }
        }
        order.place(&words)?;
        Ok(Some(order))
    }

    fn set(&mut self, flag: &str, value: String) -> Result<(), Failure> {
        match flag {
            "-i" | "--ifname" => self.ifname = Some(value),
            "--id" => self.id = Some(value),
            "--conf-dir" => self.conf_dir = Some(value.into()),
            "--cache-dir" => self.cache_dir = Some(value.into()),
            "--timeout" => {
                let seconds = value.trim_end_matches('s').parse();
                let seconds =
                    seconds.map_err(|_| usage(format!("--timeout {value}: want seconds")))?;
                self.deadline = match seconds {
                    0 => Duration::MAX,
                    seconds => Duration::from_secs(seconds),
                };
            }
            "--keep" => {
                let parts = value.rsplit_once('/');
                let (id, ifname) =
                    parts.ok_or_else(|| usage(format!("--keep {value}: want ID/IFNAME")))?;
                self.keep.push(Attachment {
                    container_id: id.to_owned(),
                    ifname: ifname.to_owned(),
                });
            }
            other => {
                return Err(usage(format!(
                    "there is no flag {other}; --help lists them"
                )));
            }
        }
        Ok(())
    }

    fn place(&mut self, words: &[&str]) -> Result<(), Failure> {
        const VERBS: [(&str, Verb); 6] = [
            ("add", Verb::Add),
            ("del", Verb::Del),
            ("check", Verb::Check),
            ("gc", Verb::Gc),
            ("status", Verb::Status),
            ("version", Verb::Version),
        ];
        let (verb, words) = words
            .split_first()
            .ok_or_else(|| usage("no verb; see --help"))?;
        let found = VERBS.iter().find(|(name, _)| name == verb);
        let (_, found) = found.ok_or_else(|| {
            let names = VERBS.map(|(name, _)| name).join(", ");
            usage(format!("{verb:?} is none of {names}"))
        })?;
        self.verb = *found;
        let (network, container) = match *words {
            [] => {
                return Err(usage(format!(
                    "{verb} needs a network: its name, or a file"
                )));
            }
            [network] => (network, ""),
            [network, container] => (network, container),
            // cnitool passes over them.
            [network, container, ..] if self.style == Style::Cnitool => (network, container),
            [_, _, more, ..] => return Err(usage(format!("{more:?} is too much"))),
        };
        // One that is detached may be known by its ID alone.
        let by_id = self.verb == Verb::Del && self.id.is_some();
        if container.is_empty() && self.verb.has_attachment() && !by_id {
            let msg = format!("{verb} needs a container: a path, docker://NAME or pid:NUMBER");
            return Err(usage(msg));
        }
        self.network = network.to_owned();
        self.container = container.to_owned();
        Ok(())
    }
}

fn usage(text: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::Usage, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(style: Style, line: &str) -> Result<Option<Order>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Order::parse(style, &words).map_err(|failure| failure.to_string())
    }

    #[test]
    fn words_and_flags_stand_in_any_order() {
        let line =
            "add -i net3 cbr0 --timeout=3s docker://web --cache-dir /c --keep a/b --conf-dir=/d";
        let order = parse(Style::Run, line).unwrap().unwrap();
        assert_eq!((order.verb, order.network.as_str()), (Verb::Add, "cbr0"));
        assert_eq!(order.container, "docker://web");
        assert_eq!(order.ifname.as_deref(), Some("net3"));
        assert_eq!(order.deadline, Duration::from_secs(3));
        assert_eq!(order.cache_dir, Some("/c".into()));
        assert_eq!(order.conf_dir, Some("/d".into()));
        assert_eq!(order.keep[0].to_string(), "a/b");
        let order = parse(Style::Cnitool, "status n ns more").unwrap().unwrap();
        assert_eq!(order.deadline, Duration::MAX, "cnitool waits without end");
        for line in ["--help", "add -h", "help"] {
            assert_eq!(parse(Style::Run, line), Ok(None));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, why) in [
            (
                "frob n",
                "\"frob\" is none of add, del, check, gc, status, version",
            ),
            ("add", "add needs a network"),
            ("add n", "add needs a container"),
            ("del n c d", "\"d\" is too much"),
            ("add n c --frob x", "there is no flag --frob"),
            ("add n c --ifname", "--ifname has no value"),
            ("add n c --ifname=", "--ifname has no value"),
            ("add n c --timeout soon", "--timeout soon: want seconds"),
            ("gc n --keep a", "--keep a: want ID/IFNAME"),
        ] {
            let error = parse(Style::Run, line).unwrap_err();
            assert!(error.starts_with(why), "{line}: {error}");
        }
        assert!(parse(Style::Run, "del n --id abc").is_ok());
    }

    #[test]
    fn the_help_fits_a_terminal() {
        for line in [HELP, CNITOOL_HELP].iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
