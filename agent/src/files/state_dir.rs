//! State that must survive a reboot: the own lease, the identity, the network configuration and the peers as last seen.
//! With it a node keeps its MAC address and comes up while the store is away.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::lease::Term;
use tweed_model::{Dual, Identity, Lease, SubnetKey, wire};

use crate::config::settings::Given;
use crate::files::atomic;
use crate::files::writer::Writer;

/// The own lease as it was last held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    /// Its subnets.
    pub key: SubnetKey,
    /// Announced attributes, in the form in which they stand in the store.
    pub value: String,
    /// Its order of creation in the store.
    pub created: u64,
    /// How long it lasts.
    #[serde(default)]
    pub term: Term,
    /// The network configuration under which it was taken, as it stands in the store.
    pub config: String,
    /// Addresses that an operator wants announced, as far as the store told.
    #[serde(default)]
    pub wishes: Dual<IpAddr>,
    /// Addresses that the store announced instead of the node's own.
    #[serde(default)]
    pub overwrites: Dual<IpAddr>,
    /// The addresses that the node was known by, where nobody had named one. Earlier versions did not save them.
    #[serde(default)]
    pub settled: Option<Dual<IpAddr>>,
    /// Subnets that were held before, the last one first: each is asked for again when its network comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Dual<IpNet>>,
}

/// The agent as it last worked: what it was given, and what it chose. A command that comes when it is gone works on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRun {
    /// Its name on this host.
    pub instance: String,
    /// Flags and variables, without secrets.
    pub given: Given,
    /// Name of the uplink.
    pub uplink: String,
    /// The addresses that it sent from.
    pub addrs: Dual<IpAddr>,
    /// The addresses that it announced.
    pub public: Dual<IpAddr>,
}

/// A peer's lease as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPeer {
    /// Its key, `10.5.34.0-24`.
    pub key: String,
    /// Its value, in the form in which it stands in the store.
    pub value: String,
    /// The node's name where the store knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its order of creation in the store.
    pub created: u64,
    /// The turn at which it first announced the MACs that it announces now.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub since: Dual<u64>,
}

/// The state folder of one instance.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
    unsaved: Arc<Mutex<Unsaved>>,
    /// Writes, where the caller can't wait for the disk.
    writer: Option<Arc<Writer>>,
}

/// Contents that are not on the disk yet, by file name, and the time of the last failed attempt.
#[derive(Debug, Default)]
struct Unsaved {
    texts: BTreeMap<&'static str, Arc<Vec<u8>>>,
    tried: Option<Instant>,
    /// Why; the first reason is the best one.
    error: Option<String>,
}

const LEASE: &str = "lease.json";
const IDENTITY: &str = "identity.json";
const RUN: &str = "agent.json";
const PEERS: &str = "peers.json";
/// A list of which no more than one member is held at a time.
struct OneByOne<I>(RefCell<I>);

impl<T: Serialize, I: Iterator<Item = T>> Serialize for OneByOne<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&mut *self.0.borrow_mut())
    }
}

/// So many subnets of earlier networks are remembered.
const EARLIER: usize = 16;
/// Between two attempts to save what could not be saved.
const AGAIN: Duration = Duration::from_secs(5);
/// A hundred thousand peers.
const LIMIT: usize = 64 * MIB;

impl StateDir {
    /// Opens the folder, and makes it where it isn't there yet, for the owner's eyes only.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        make(dir)?;
        Ok(Self::at(dir))
    }

    /// The folder as it is, which may not be there or not be writable: loading finds nothing then, and saving fails.
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            unsaved: Arc::default(),
            writer: None,
        }
    }

    /// From now on a thread writes, and saving doesn't wait for it. When the last clone goes, all is written.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn in_background(mut self) -> anyhow::Result<Self> {
        let folder = self.clone();
        let write = move || {
            // What can't be written is told by [`StateDir::error`].
            let _ = folder.write();
        };
        self.writer = Some(Arc::new(Writer::start(write)?));
        Ok(self)
    }

    /// The own lease, if one was saved.
    ///
    /// # Errors
    /// If the file is there and can't be read; one that can be read but not understood counts as absent.
    pub fn lease(&self) -> anyhow::Result<Option<SavedLease>> {
        self.load(LEASE)
    }

    /// Saves the own lease.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save_lease(&self, lease: &SavedLease) -> anyhow::Result<()> {
        self.save(LEASE, lease)
    }

    /// The node's identity, if one was saved.
    ///
    /// # Errors
    /// As [`StateDir::lease`].
    pub fn identity(&self) -> anyhow::Result<Option<Identity>> {
        self.load(IDENTITY)
    }

    /// Saves the node's identity.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        self.save(IDENTITY, identity)
    }

    /// What the agent last worked with, if that was saved.
    ///
    /// # Errors
    /// As [`StateDir::lease`].
    pub fn run(&self) -> anyhow::Result<Option<SavedRun>> {
        self.load(RUN)
    }

    /// Saves what the agent works with.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save_run(&self, run: &SavedRun) -> anyhow::Result<()> {
        self.save(RUN, run)
    }

    /// The peers as last seen; none if nothing was saved.
    ///
    /// # Errors
    /// As [`StateDir::lease`].
    pub fn peers(&self) -> anyhow::Result<Vec<SavedPeer>> {
        Ok(self.load(PEERS)?.unwrap_or_default())
    }

    /// Saves the peers.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn save_peers(&self, peers: impl Iterator<Item = SavedPeer>) -> anyhow::Result<()> {
        self.save(PEERS, &OneByOne(RefCell::new(peers)))
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.dir.join(name);
        let unsaved = self.unsaved().texts.get(name).cloned();
        if let Some(value) = unsaved.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(Some(value));
        }
        let text = match bounded_file::read(&path, Links::Refused, LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                set_aside(&path, &error);
                Ok(None)
            }
        }
    }

    fn save<T: Serialize>(&self, name: &'static str, value: &T) -> anyhow::Result<()> {
        let mut text =
            serde_json::to_vec_pretty(value).with_context(|| format!("encode {name}"))?;
        text.push(b'\n');
        self.unsaved().texts.insert(name, Arc::new(text));
        match &self.writer {
            Some(writer) => writer.wake(),
            None => self.write()?,
        }
        Ok(())
    }

    /// Writes what is not on the disk. Fails with the last reason; what failed stays to be tried again.
    fn write(&self) -> anyhow::Result<()> {
        let texts = self.unsaved().texts.clone();
        let mut result = Ok(());
        for (name, text) in texts {
            // Where there is no folder, what keeps it from being made is the reason.
            let path = self.dir.join(name);
            let written = make(&self.dir).and_then(|()| atomic::replace(&path, &text, 0o600));
            let mut unsaved = self.unsaved();
            match &written {
                // Meanwhile it may have been saved once more.
                Ok(()) => unsaved.texts.retain(|_, there| !Arc::ptr_eq(there, &text)),
                Err(error) => {
                    unsaved.tried = Some(Instant::now());
                    unsaved.error.get_or_insert_with(|| format!("{error:#}"));
                }
            }
            result = result.and(written);
        }
        let mut unsaved = self.unsaved();
        if unsaved.texts.is_empty() && unsaved.error.take().is_some() && unsaved.tried.is_some() {
            tracing::info!(folder = %self.dir.display(), "the state is saved now");
        }
        result
    }

    /// The folder, of which it is known why it can't be made.
    pub fn unusable(dir: &Path, error: &anyhow::Error) -> Self {
        let state = Self::at(dir);
        state.unsaved().error = Some(format!("{error:#}"));
        state
    }

    /// Why something could not be saved, as long as it is not.
    pub fn error(&self) -> Option<String> {
        let unsaved = self.unsaved();
        unsaved.error.clone().filter(|_| !unsaved.texts.is_empty())
    }

    /// Tries again what could not be saved, now and then: the disk may have been full. Says so when it has worked.
    pub fn try_again(&self) {
        {
            let mut unsaved = self.unsaved();
            let due = unsaved.tried.is_some_and(|at| at.elapsed() >= AGAIN);
            if unsaved.texts.is_empty() || !due {
                return;
            }
            unsaved.tried = Some(Instant::now());
        }
        match &self.writer {
            Some(writer) => writer.wake(),
            // What can't be written is told by [`StateDir::error`].
            None => drop(self.write()),
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, Unsaved> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(dir: &Path) -> anyhow::Result<()> {
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("create state folder {}", dir.display()))
}

/// Keeps a file that can't be understood, and logs where.
fn set_aside(path: &Path, error: &serde_json::Error) {
    let mut kept = path.as_os_str().to_owned();
    kept.push(".bad");
    match std::fs::rename(path, &kept) {
        Ok(()) => tracing::warn!(
            file = %path.display(), kept = %kept.display(), %error,
            "saved state can't be read; going on without it, the file is kept aside"
        ),
        Err(rename) => tracing::warn!(
            file = %path.display(), %error, %rename,
            "saved state can't be read; going on without it"
        ),
    }
}

impl SavedLease {
    /// A lease and the configuration under which it was taken, to be saved.
    pub fn new(lease: &Lease, config: &str, wishes: Dual<IpAddr>) -> Self {
        Self {
            key: lease.key,
            value: wire::format_attrs(&lease.attrs),
            created: lease.created,
            term: lease.term,
            config: config.to_owned(),
            wishes,
            overwrites: Dual::default(),
            settled: None,
            earlier: Vec::new(),
        }
    }

    /// The addresses that stay this node's as long as the host has them.
    pub fn known_by(&self) -> Dual<IpAddr> {
        let announced = || wire::parse_attrs(self.value.as_bytes()).ok();
        let announced = || announced().map(|attrs| attrs.public);
        self.settled.or_else(announced).unwrap_or_default()
    }

    /// Takes over what was held before.
    pub fn follow(&mut self, before: &Self) {
        let held = std::iter::once(&before.key.0).chain(&before.earlier);
        let own = self.key.0;
        self.earlier = held.filter(|nets| **nets != own).copied().collect();
        self.earlier.dedup();
        self.earlier.truncate(EARLIER);
    }
}

impl SavedPeer {
    /// A peer to be saved.
    pub fn new(lease: &Lease, since: Dual<u64>) -> Self {
        Self {
            since,
            key: lease.key.to_string(),
            value: wire::format_attrs(&lease.attrs),
            node: lease.node.clone(),
            created: lease.created,
        }
    }

    /// The peer as it was.
    ///
    /// # Errors
    /// If its key or value isn't one.
    pub fn lease(&self) -> Result<Lease, wire::WireError> {
        Ok(Lease {
            key: self.key.parse()?,
            attrs: wire::parse_attrs(self.value.as_bytes())?,
            node: self.node.clone(),
            created: self.created,
            term: Term::Leased,
        })
    }
}

#[cfg(test)]
mod tests;
