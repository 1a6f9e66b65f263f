//! Is a flanneld running beside us? Two daemons on one network would take each other's lease and devices.

pub mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Parser;
use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::cli::Cli;
use crate::config::flags::{self, Flag};
use crate::config::flannel_args;
use crate::config::options::{Options, StoreOptions};
use crate::config::settings::Settings;

/// A running flanneld in our network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flanneld {
    /// Its process id.
    pub pid: u32,
    /// Where its network is configured, such as `etcd /coreos.com/network`; none if its command line can't be read.
    network: Option<String>,
    /// Where it writes `subnet.env`.
    subnet_file: Option<PathBuf>,
}

/// Looks for them below `proc` (`/proc`). What ends meanwhile, or can't be read, is passed over.
pub fn find(proc: &Path) -> Vec<Flanneld> {
    let found = processes(proc).into_iter();
    found.filter_map(|pid| look_at(proc, pid)).collect()
}

/// The processes' ids, in order.
fn processes(proc: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(pid).collect()
}

/// Whether a process is a flanneld in our network namespace, and which.
fn look_at(proc: &Path, pid: u32) -> Option<Flanneld> {
    let process = proc.join(pid.to_string());
    if !is_flanneld(&process) || !is_near(proc, &process) {
        return None;
    }
    // Without any word it has ended and nobody has asked how, or it is just about to begin.
    let words = strings(&process.join("cmdline")).unwrap_or_default();
    (!words.is_empty()).then(|| read(pid, &process, &words))
}

fn is_near(proc: &Path, process: &Path) -> bool {
    let namespace = |process: &Path| fs::read_link(process.join("ns/net"));
    match namespace(process) {
        Ok(theirs) => namespace(&proc.join("thread-self")).is_ok_and(|own| own == theirs),
        // A confined agent may not look. The Unix sockets of a namespace it may see, its own among them; each has a number
        // that no other socket of the machine has.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            !sockets(&proc.join("thread-self")).is_disjoint(&sockets(process))
        }
        Err(_) => false,
    }
}

/// The inodes of the Unix sockets in a process's network namespace.
fn sockets(process: &Path) -> BTreeSet<String> {
    let table = process.join("net/unix");
    let bytes = bounded_file::read(&table, Links::Followed, 8 * MIB).unwrap_or_default();
    let inode = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    String::from_utf8_lossy(&bytes)
        .lines()
        .skip(1)
        .filter_map(inode)
        .collect()
}

/// Warns about each flanneld that works on another network, and refuses to go on beside one that works on ours, unless
/// told to.
///
/// # Errors
/// Names the process and what to do.
pub fn check(found: &[Flanneld], options: &Options) -> anyhow::Result<()> {
    for flanneld in found {
        let pid = flanneld.pid;
        match flanneld.conflict(options) {
            Some(what) if !options.allow_flanneld => bail!(
                "flanneld is running (pid {pid}) and {what}; stop it first (it leaves devices and routes in place, and they are taken over), or start with --allow-flanneld"
            ),
            Some(what) => tracing::warn!(
                pid,
                "flanneld is running and {what}; going on, as --allow-flanneld asks"
            ),
            None => tracing::warn!(
                pid,
                network = flanneld.network.as_deref().unwrap_or("unknown"),
                "flanneld is running on this host, on another network as far as its command line tells"
            ),
        }
    }
    Ok(())
}

impl Flanneld {
    fn conflict(&self, options: &Options) -> Option<String> {
        let network = network(&options.store);
        if self.network.as_ref() == Some(&network) {
            return Some(format!("works on the same network ({network})"));
        }
        let file = &options.host.subnet_file;
        (self.subnet_file.as_ref() == Some(file))
            .then(|| format!("writes the same {}", file.display()))
    }
}

fn network(store: &StoreOptions) -> String {
    match store {
        StoreOptions::Etcd(etcd) => format!("etcd {}", etcd.keys().config()),
        StoreOptions::Kube(_) => "Kubernetes".to_owned(),
        StoreOptions::File { dir } => format!("folder {}", dir.display()),
    }
}

fn is_flanneld(process: &Path) -> bool {
    let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let exe = fs::read_link(process.join("exe")).unwrap_or_default();
    let exe = exe.file_name().and_then(OsStr::to_str).unwrap_or_default();
    comm.trim_end() == "flanneld" || exe.trim_end_matches(" (deleted)") == "flanneld"
}

/// Reads what the process was asked to do, with the same parser that reads our own command line.
fn read(pid: u32, process: &Path, words: &[String]) -> Flanneld {
    let unknown = Flanneld {
        pid,
        network: None,
        subnet_file: None,
    };
    // Not every kernel lets a confined agent read it.
    let environment = strings(&process.join("environ"));
    let name = |word: &String| Path::new(word).file_name() == Some(OsStr::new("flanneld"));
    let first = words.iter().position(name).map_or(1, |at| at + 1);
    let line = flannel_args::rewrite(words.get(first..).unwrap_or_default(), &[]);
    let Ok(cli) = Cli::try_parse_from(["tweedd".to_owned()].into_iter().chain(line.words)) else {
        return unknown;
    };
    let variables: BTreeMap<String, String> = environment
        .iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, _)| name.starts_with("FLANNELD_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let variable = |variable: &str| variables.get(variable).cloned();
    let settings = Settings::new(&cli.flags.0, &variable);
    // What the command line doesn't say, the environment may.
    let says = |flags: &[&Flag]| {
        let mut flags = flags.iter().map(|flag| flag.name);
        environment.is_some() || flags.any(|name| cli.flags.0.0.contains_key(name))
    };
    let store = says(&[&flags::ETCD_PREFIX, &flags::KUBE_SUBNET_MGR])
        .then(|| StoreOptions::read(&settings).ok());
    let subnet_file = says(&[&flags::SUBNET_FILE]).then(|| settings.text(&flags::SUBNET_FILE));
    Flanneld {
        pid,
        network: store.flatten().map(|store| network(&store)),
        subnet_file: subnet_file.flatten().map(|(_, path)| path.into()),
    }
}

/// The strings of a file in which each ends with a zero byte; `None` if it can't be read.
fn strings(path: &Path) -> Option<Vec<String>> {
    // A process chooses how much stands there.
    let bytes = bounded_file::read(path, Links::Followed, 8 * MIB).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
