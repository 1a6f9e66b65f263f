//! A store in memory, for tests and for trying things out: several nodes of one process share a network.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tweed_host::random;
use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey};

use super::claim::{self, Choice, Survey};
use super::standing::{Fight, Finding, find, say, say_lost, say_unsure};
use super::{Ended, Held, Holding, LeaseStore, Request, StoreError};

/// One node's way to a network in memory. A clone is the same node; [`Memory::node`] makes another one. Leases have no
/// end; a suspect one counts as abandoned once its [`MemoryHeld`] is dropped.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    online: watch::Sender<bool>,
}

struct Shared {
    content: Mutex<Content>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Content {
    config: Option<String>,
    leases: BTreeMap<SubnetKey, Lease>,
    kept: BTreeMap<SubnetKey, usize>,
    revision: u64,
    listings: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty network, and its first node.
    pub fn new() -> Self {
        let shared = Shared {
            content: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
            online: watch::Sender::new(true),
        }
    }

    /// Another node of the same network.
    #[must_use]
    pub fn node(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            online: watch::Sender::new(true),
        }
    }

    /// Cuts this node off from the network, or connects it again.
    pub fn set_online(&self, online: bool) {
        self.online.send_replace(online);
    }

    /// Writes a lease as an operator or another program does: unconditionally.
    pub fn put(&self, mut lease: Lease) {
        self.change(|content| {
            let known = content.leases.get(&lease.key);
            lease.created = known.map_or(content.revision, |known| known.created);
            content.leases.insert(lease.key, lease);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        let mut content = self.lock();
        content.revision += 1;
        let result = change(&mut content);
        self.shared.changes.send_replace(content.revision);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.shared
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<(), StoreError> {
        if *self.online.borrow() {
            Ok(())
        } else {
            Err(StoreError::Unavailable(
                "the store in memory is switched off".into(),
            ))
        }
    }

    /// Waits until the network or the way to it changes.
    async fn changed(&self, seen: &mut watch::Receiver<u64>, online: &mut watch::Receiver<bool>) {
        tokio::select! {
            _ = seen.changed() => {}
            _ = online.changed() => {}
        }
    }

    fn secure(&self, lease: &Lease) -> Finding {
        let mut content = self.lock();
        let leases: Vec<_> = content.leases.values().collect();
        let finding = find(lease, &leases, &[], |_| false);
        let stored = content.leases.get(&lease.key);
        let repair = match (&finding, stored) {
            (Finding::Gone, _) => Some(Lease {
                created: content.revision + 1,
                ..lease.clone()
            }),
            (Finding::Ours, Some(stored)) if stored.attrs != lease.attrs => Some(Lease {
                attrs: lease.attrs.clone(),
                ..stored.clone()
            }),
            _ => None,
        };
        if let Some(repair) = repair {
            content.revision += 1;
            content.leases.insert(repair.key, repair);
            self.shared.changes.send_replace(content.revision);
        }
        finding
    }

    fn snapshot(&self, listed: bool) -> ClusterSnapshot {
        let mut content = self.lock();
        content.listings += u64::from(listed);
        ClusterSnapshot {
            leases: content
                .leases
                .iter()
                .map(|(key, lease)| (*key, lease.clone().into()))
                .collect(),
            broken: BTreeMap::new(),
            in_sync: true,
            listings: content.listings,
            config: content.config.clone(),
        }
    }
}

impl LeaseStore for Memory {
    type Held = MemoryHeld;
    type Remote = Infallible;
    type Cluster = Infallible;

    async fn config(&self) -> Result<String, StoreError> {
        self.reach()?;
        self.lock()
            .config
            .clone()
            .ok_or_else(|| StoreError::NoConfig {
                at: "the store in memory".into(),
                fix: "put one".into(),
            })
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        self.reach()?;
        self.change(|content| content.config = Some(text.to_owned()));
        Ok(())
    }

    async fn acquire(&self, request: &Request) -> Result<MemoryHeld, StoreError> {
        self.reach()?;
        let lease = self.change(|content| {
            let survey = Survey::of(&content.leases.values().collect::<Vec<_>>(), &[], request);
            let lives = survey
                .reuse
                .iter()
                .map(|(key, _)| (*key, content.kept.contains_key(key)))
                .collect();
            let choice = claim::choose(&survey, &lives, request, random::bits());
            let choice = choice.map_err(|error| StoreError::Exhausted(error.to_string()))?;
            let (Choice::Reuse(key) | Choice::New(key) | Choice::Ask(key)) = choice;
            let stored = content.leases.get(&key);
            let lease = Lease {
                key,
                attrs: request.attrs.clone(),
                node: None,
                created: stored.map_or(content.revision, |stored| stored.created),
                term: stored.map_or(Term::Leased, |stored| stored.term),
            };
            content
                .leases
                .retain(|other, _| !survey.own.contains(other));
            content.leases.insert(key, lease.clone());
            *content.kept.entry(key).or_default() += 1;
            Ok(lease)
        });
        let store = self.clone();
        lease.map(|lease| MemoryHeld { store, lease })
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        self.reach()?;
        let removed = self.change(|content| content.leases.remove(key));
        removed
            .map(drop)
            .ok_or_else(|| StoreError::NotFound(key.to_string()))
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        self.reach()?;
        Ok(self.snapshot(true))
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        let mut seen = self.shared.changes.subscribe();
        let mut online = self.online.subscribe();
        let mut listed = true;
        loop {
            seen.mark_unchanged();
            online.mark_unchanged();
            if self.reach().is_ok() {
                let snapshot = self.snapshot(listed);
                listed = false;
                out.send_if_modified(|current| {
                    let differs = **current != snapshot;
                    if differs {
                        *current = Arc::new(snapshot);
                    }
                    differs
                });
            }
            tokio::select! {
                () = self.changed(&mut seen, &mut online) => {}
                () = relist.notified() => listed = true,
            }
        }
    }
}

/// A lease in memory, which counts as kept for as long as this lives.
pub struct MemoryHeld {
    store: Memory,
    lease: Lease,
}

impl Held for MemoryHeld {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn keep(self, standing: watch::Sender<Holding>) -> Ended {
        let Self { store, lease } = &self;
        let mut seen = store.shared.changes.subscribe();
        let mut online = store.online.subscribe();
        let mut fight = Fight::default();
        loop {
            seen.mark_unchanged();
            online.mark_unchanged();
            match store.reach() {
                Err(error) => say_unsure(&standing, error, Instant::now()),
                Ok(()) => {
                    let gone = !store.lock().leases.contains_key(&lease.key);
                    if gone {
                        say_lost(&standing, format!("lease {} is gone", lease.key));
                        fight.pause().await;
                    }
                    if let Finding::Taken(by) = store.secure(lease) {
                        say(&standing, Holding::Taken { by });
                        return Ended::Taken(by);
                    }
                    say(&standing, Holding::Held);
                }
            }
            store.changed(&mut seen, &mut online).await;
        }
    }
}

impl Drop for MemoryHeld {
    fn drop(&mut self) {
        let mut content = self.store.lock();
        if let Some(count) = content.kept.get_mut(&self.lease.key) {
            *count -= 1;
            if *count == 0 {
                content.kept.remove(&self.lease.key);
            }
        }
    }
}
