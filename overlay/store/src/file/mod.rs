//! A folder as a store, for small fixed sets of hosts, and for trying things out.
//!
//! ```text
//! <folder>/config                      the network configuration; net-conf.json is read too
//! <folder>/subnets/10.5.34.0-24.json   a lease: its key is the name, its value flannel's JSON
//! <folder>/lock                        locked by each writer
//! ```
//!
//! Nothing runs out: a lease ends when its file is removed (`tweedd leases release`). A file with only a `PublicIP`
//! reserves its subnet for that node.

mod changes;
mod folder;
mod gate;
mod keep;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tweed_host::random;
use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey, wire};

use self::changes::Changes;
use self::folder::Folder;
use self::gate::Gate;
pub use self::keep::FileHeld;
use super::claim::{self, ANSWER_TIME, Choice, Survey};
use super::contact::Contact;
use super::{LeaseStore, Request, StoreError};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the folder is, and how often to look into it without a reason.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The folder. It need not exist yet.
    pub folder: PathBuf,
    /// How often it is read again in any case: changes by other machines to a shared folder go unannounced.
    pub reread: Duration,
}

impl FileOptions {
    /// A folder that is read at least every ten seconds.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            reread: Duration::from_secs(10),
        }
    }
}

/// One network in a folder.
#[derive(Clone, Debug)]
pub struct FileStore {
    gate: Gate,
    reread: Duration,
    listings: Arc<AtomicU64>,
}

/// What came of a try to take a lease.
enum Attempt {
    Taken(Box<Lease>),
    /// The holder of this one was asked with this text.
    Asked(SubnetKey, String),
}

impl FileStore {
    /// Touches nothing yet.
    pub fn new(options: FileOptions) -> Self {
        Self {
            gate: Gate::new(Folder::new(&options.folder)),
            reread: options.reread,
            listings: Arc::default(),
        }
    }

    /// Refuses a folder that does not exist, which otherwise counts as empty.
    ///
    /// # Errors
    /// With its name.
    pub async fn refuse_missing(&self) -> Result<(), StoreError> {
        let look = |folder: &Folder| match folder.path().is_dir() {
            true => Ok(()),
            false => Err(StoreError::Unavailable(format!(
                "folder {} (--store-dir) does not exist; tweedd config set makes it for a new network",
                folder.path().display()
            ))),
        };
        self.gate.run(look).await
    }

    async fn snapshot(&self, listings: u64) -> Result<ClusterSnapshot, StoreError> {
        Ok(self.gate.run(Folder::read).await?.into_snapshot(listings))
    }

    fn next_listing(&self) -> u64 {
        self.listings.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the holder of a lease puts its own text back in place of the question.
    async fn answers(&self, key: SubnetKey, question: &str) -> Result<bool, StoreError> {
        let deadline = Instant::now() + ANSWER_TIME;
        while Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
            let content = self.gate.run(Folder::read).await?;
            if content
                .texts
                .get(&key)
                .is_none_or(|text| text != question.as_bytes())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A question that was put to the holder of a lease, and whether somebody answered.
#[derive(Clone)]
struct Asked {
    question: String,
    answered: bool,
}

/// Takes a lease while the folder is locked, or asks the holder of one that may be ours.
fn attempt(
    folder: &Folder,
    request: &Request,
    asked: &BTreeMap<SubnetKey, Asked>,
) -> Result<Attempt, StoreError> {
    let locked = folder.lock()?;
    let content = locked.read()?;
    let survey = Survey::of(&content.leases(), &content.unreadable, request);
    // Another node was quicker to take over an abandoned lease.
    let lives = |key: &SubnetKey, asked: &Asked| {
        asked.answered
            || content
                .texts
                .get(key)
                .is_none_or(|text| text != asked.question.as_bytes())
    };
    let lives = asked
        .iter()
        .map(|(key, asked)| (*key, lives(key, asked)))
        .collect();
    let choice = claim::choose(&survey, &lives, request, random::bits());
    let key = match choice.map_err(|error| StoreError::Exhausted(error.to_string()))? {
        Choice::Reuse(key) | Choice::New(key) => key,
        Choice::Ask(key) => {
            let attrs = content
                .leases
                .get(&key)
                .map(|lease| lease.attrs.clone())
                .unwrap_or_default();
            let question = claim::question(&attrs, random::bits());
            locked.write(&key, &question)?;
            return Ok(Attempt::Asked(key, question));
        }
    };
    let created = locked.write(&key, &wire::format_attrs(&request.attrs))?;
    for other in survey.own.iter().filter(|other| **other != key) {
        locked.remove(other)?;
    }
    let term = content
        .leases
        .get(&key)
        .map_or(Term::Leased, |lease| lease.term);
    Ok(Attempt::Taken(Box::new(Lease {
        key,
        attrs: request.attrs.clone(),
        node: None,
        created,
        term,
    })))
}

impl LeaseStore for FileStore {
    type Held = FileHeld;
    type Remote = Infallible;
    type Cluster = Infallible;

    async fn config(&self) -> Result<String, StoreError> {
        let config = self
            .gate
            .run(|folder| Ok((folder.config()?, folder.config_file())))
            .await?;
        match config {
            (Some(text), _) => Ok(text),
            (None, file) => Err(StoreError::NoConfig {
                at: file.display().to_string(),
                fix: "write it with `tweedd config set`, or copy flannel's net-conf.json there"
                    .into(),
            }),
        }
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        let text = text.to_owned();
        self.gate
            .run(move |folder| folder.lock()?.write_config(&text))
            .await
    }

    async fn acquire(&self, request: &Request) -> Result<FileHeld, StoreError> {
        let mut asked = BTreeMap::new();
        loop {
            let (request, known) = (request.clone(), asked.clone());
            match self
                .gate
                .run(move |folder| attempt(folder, &request, &known))
                .await?
            {
                Attempt::Taken(lease) => {
                    return Ok(FileHeld {
                        gate: self.gate.clone(),
                        reread: self.reread,
                        lease: *lease,
                    });
                }
                Attempt::Asked(key, question) => {
                    tracing::info!(lease = %key, "a lease looks like ours, but isn't quite; asking its holder");
                    let answered = self.answers(key, &question).await?;
                    asked.insert(key, Asked { question, answered });
                }
            }
        }
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        let key = *key;
        let removed = self
            .gate
            .run(move |folder| folder.lock()?.remove(&key))
            .await?;
        if removed {
            Ok(())
        } else {
            Err(StoreError::NotFound(key.to_string()))
        }
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        self.snapshot(self.next_listing()).await
    }

    fn contact(&self) -> Contact {
        self.gate.contact.clone()
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        let mut changes = Changes::new(&self.gate, self.reread);
        let mut listings = self.next_listing();
        loop {
            let armed = changes.arm().await;
            match self.snapshot(listings).await {
                Ok(snapshot) => {
                    out.send_if_modified(|current| {
                        let differs = **current != snapshot;
                        if differs {
                            *current = Arc::new(snapshot);
                        }
                        differs
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the folder can't be read; keeping what is known");
                }
            }
            tokio::select! {
                () = changes.next(armed) => {}
                () = relist.notified() => listings = self.next_listing(),
            }
        }
    }
}
