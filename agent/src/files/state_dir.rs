//! State that must survive a reboot: the own lease, the identity, the network configuration and the peers as last seen.
//! With it a node keeps its MAC address and comes up while the store is away.

mod saved;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::Identity;

pub use self::saved::{SavedLease, SavedPeer, SavedRun};
use crate::events::document::Events;
use crate::events::event::Event;
use crate::files::atomic;
use crate::files::writer::Writer;

/// The state folder of one instance.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
    unsaved: Arc<Mutex<Unsaved>>,
    /// Writes, where the caller can't wait for the disk.
    writer: Option<Arc<Writer>>,
}

/// Contents that are not on the disk yet, by file name, with the time of the last failed attempt.
#[derive(Debug, Default)]
struct Unsaved {
    texts: BTreeMap<&'static str, Arc<Vec<u8>>>,
    /// Contents that need not be read again: with a thread that writes, no other one is to wait for the disk.
    known: BTreeMap<&'static str, Arc<Vec<u8>>>,
    tried: Option<Instant>,
    /// Why; the first reason is the best one.
    error: Option<String>,
}

const LEASE: &str = "lease.json";
const IDENTITY: &str = "identity.json";
const RUN: &str = "agent.json";
const PEERS: &str = "peers.json";
const EVENTS: &str = "events.json";

/// A list of which no more than one member is held at a time.
struct OneByOne<I>(RefCell<I>);

impl<T: Serialize, I: Iterator<Item = T>> Serialize for OneByOne<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&mut *self.0.borrow_mut())
    }
}

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

    /// From now on this thread writes, and saving doesn't wait for it. When the thread has ended, all is written.
    #[must_use]
    pub fn in_background(mut self, writer: Arc<Writer>) -> Self {
        self.writer = Some(writer);
        self
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

    /// The events that were saved, the oldest first; none if nothing was.
    ///
    /// # Errors
    /// As [`StateDir::lease`].
    pub fn events(&self) -> anyhow::Result<Vec<Event>> {
        let saved: Option<Events> = self.load(EVENTS)?;
        Ok(saved.map(|saved| saved.events).unwrap_or_default())
    }

    /// Saves events, which are asked for where they are written: there may be a thousand of them.
    ///
    /// # Errors
    /// If they can't be written, where no thread does that.
    pub fn save_events(
        &self,
        events: impl FnOnce() -> Vec<Event> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Some(writer) = &self.writer else {
            return self.save(EVENTS, &Events::from(events()));
        };
        let folder = self.without_writer();
        // What can't be written is told by [`StateDir::error`].
        writer.run(Box::new(move || drop(folder.save_events(events))));
        Ok(())
    }

    fn load<T: DeserializeOwned>(&self, name: &'static str) -> anyhow::Result<Option<T>> {
        let path = self.dir.join(name);
        let there = {
            let unsaved = self.unsaved();
            unsaved.texts.get(name).or(unsaved.known.get(name)).cloned()
        };
        if let Some(value) = there.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(Some(value));
        }
        let text = match bounded_file::read(&path, Links::Refused, LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        match serde_json::from_slice(&text) {
            Ok(value) => {
                self.keep(name, &Arc::new(text));
                Ok(Some(value))
            }
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
        let text = Arc::new(text);
        self.keep(name, &text);
        self.unsaved().texts.insert(name, text);
        self.write_soon()
    }

    /// The peers of a large cluster are megabytes, and events are read once.
    fn keep(&self, name: &'static str, text: &Arc<Vec<u8>>) {
        if self.writer.is_some() && ![PEERS, EVENTS].contains(&name) {
            self.unsaved().known.insert(name, Arc::clone(text));
        }
    }

    /// Writes, where a thread does that, in its time.
    fn write_soon(&self) -> anyhow::Result<()> {
        let Some(writer) = &self.writer else {
            return self.write();
        };
        let folder = self.without_writer();
        writer.run(Box::new(move || drop(folder.write())));
        Ok(())
    }

    /// The same folder for the thread that writes.
    fn without_writer(&self) -> Self {
        Self {
            writer: None,
            ..self.clone()
        }
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
        // What can't be written is told by [`StateDir::error`].
        drop(self.write_soon());
    }

    /// When something is to be tried again.
    pub fn due(&self) -> Option<Instant> {
        let unsaved = self.unsaved();
        let waits = !unsaved.texts.is_empty();
        unsaved.tried.filter(|_| waits).map(|tried| tried + AGAIN)
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

#[cfg(test)]
mod tests;
