//! Keeping the own lease: its etcd lease is renewed, its key watched. Whatever happens, the same question is asked:
//! what stands under the key now, and what does that make of us?

use std::net::IpAddr;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchOptions, WatchResponse};
use tokio::sync::watch::Sender;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use super::client::{self, Member};
use super::grant::Created;
use super::listing::{self, Listing};
use super::{Etcd, Tenure};
use crate::model::subnet::keys_overlap;
use crate::model::{Dual, Lease, wire};
use crate::store::backoff::{Backoff, QUIET, jittered};
use crate::store::claim::{same_holder, same_public};
use crate::store::{Holding, StoreError};

/// flannel's lease time, for a lease that an earlier run acquired and of which etcd knows nothing any more.
const USUAL_TTL: Duration = Duration::from_secs(86_400);
const SHORTEST_RENEWAL: Duration = Duration::from_millis(300);

/// Why keeping stopped for the moment, or for good.
enum Stop {
    Taken(Dual<IpAddr>),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

pub(super) async fn keep(store: &Etcd, lease: &Lease, standing: &Sender<Holding>) -> Dual<IpAddr> {
    let mut keeper = Keeper {
        store,
        lease,
        name: store.keys.subnet(&lease.key),
        value: wire::format_attrs(&lease.attrs),
        tenure: store.recall(&lease.key),
        standing,
        trouble: Backoff::default(),
    };
    loop {
        let started = Instant::now();
        match keeper.session().await {
            Stop::Taken(by) => {
                keeper.say(Holding::Taken { by });
                return by;
            }
            Stop::Failed(error) => {
                keeper.say(Holding::Unsure {
                    reason: error.to_string(),
                });
                keeper.trouble.reset_after(started.elapsed());
                sleep(keeper.trouble.next()).await;
            }
        }
    }
}

struct Keeper<'a> {
    store: &'a Etcd,
    lease: &'a Lease,
    name: String,
    value: String,
    tenure: Option<Tenure>,
    standing: &'a Sender<Holding>,
    trouble: Backoff,
}

/// What stands under the own key.
enum Finding {
    /// What should, under this etcd lease.
    Settled(i64),
    /// Our entry as somebody edited it at this revision. It belongs under this etcd lease, or under a new one.
    Edited(i64, Option<i64>),
    /// Somebody else's entry, or nothing while somebody holds a part of the subnet.
    Taken(Dual<IpAddr>),
    /// Nothing.
    Gone,
}

impl Keeper<'_> {
    /// Holds the lease until something fails or somebody takes it.
    async fn session(&mut self) -> Stop {
        match self.hold().await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn hold(&mut self) -> Result<std::convert::Infallible, Stop> {
        let mut revision = self.secure().await?;
        let member = self.store.cluster.member().await?;
        let mut stream = self.open(&member, revision).await?;
        let mut renewal = self.renewal();
        let mut fight = Fight::default();
        loop {
            tokio::select! {
                message = stream.message() => {
                    let response = self.checked(&member, message)?;
                    if let Some(deleted) = change_after(&response, revision) {
                        if deleted {
                            self.say_lost(format!("etcd key {} was deleted, or its lease ran out", self.name));
                        }
                        fight.pause().await;
                        revision = self.secure().await?;
                        renewal = self.renewal();
                    }
                }
                _ = renewal.tick() => {
                    if !self.renew().await? {
                        revision = self.secure().await?;
                        renewal = self.renewal();
                    }
                }
            }
        }
    }

    async fn open(&self, member: &Member, revision: i64) -> Result<etcd_client::WatchStream, Stop> {
        let options = WatchOptions::new().with_start_revision(revision + 1);
        let mut watcher = client::watcher(&member.client);
        let open = watcher.watch(self.name.clone(), Some(options));
        match tokio::time::timeout(self.store.cluster.timeout(), open).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self
                .store
                .cluster
                .stream_failed(member, "watch the own lease", &error)
                .into()),
            Err(_) => Err(self
                .store
                .cluster
                .stream_ended(member, "watch the own lease", "didn't answer")
                .into()),
        }
    }

    fn checked(
        &self,
        member: &Member,
        message: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<WatchResponse, Stop> {
        let what = "watch the own lease";
        match message {
            Ok(Some(response)) if response.canceled() => {
                let why = format!("ended the watch ({})", response.cancel_reason());
                Err(self.store.cluster.stream_ended(member, what, &why).into())
            }
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(self
                .store
                .cluster
                .stream_ended(member, what, "closed the connection")
                .into()),
            Err(error) => Err(self
                .store
                .cluster
                .stream_failed(member, what, &error)
                .into()),
        }
    }

    /// Looks at the key and repairs what is wrong with it. Answers the revision at which all was well.
    async fn secure(&mut self) -> Result<i64, Stop> {
        let mut pace = Backoff::default();
        loop {
            let listing = listing::read(&self.store.cluster, &self.store.keys).await?;
            let done = match self.judge(&listing) {
                Finding::Taken(by) => return Err(Stop::Taken(by)),
                Finding::Settled(id) => {
                    self.adopt(id).await?;
                    self.renew().await?.then_some(listing.revision)
                }
                Finding::Edited(changed, id) => self.restore(changed, id).await?,
                Finding::Gone => self.take_back(&listing).await?,
            };
            if let Some(revision) = done {
                self.say(Holding::Held);
                return Ok(revision);
            }
            sleep(pace.next()).await;
        }
    }

    fn judge(&self, listing: &Listing) -> Finding {
        let key = &self.lease.key;
        let known = self.tenure.map(|tenure| tenure.id);
        if let Some(changed) = listing.unreadable.get(key) {
            return Finding::Edited(*changed, known);
        }
        let own = listing.entries.get(key);
        let created = own.map_or(u64::MAX, |entry| entry.lease.created);
        let mut leases = listing.entries.values().map(|entry| &entry.lease);
        let first = leases.find(|other| other.created < created && keys_overlap(&other.key, key));
        if let Some(first) = first {
            return Finding::Taken(first.attrs.public);
        }
        let Some(entry) = own else {
            let blocked = listing
                .unreadable
                .keys()
                .any(|other| keys_overlap(other, key));
            return if blocked {
                Finding::Taken(Dual::default())
            } else {
                Finding::Gone
            };
        };
        let attrs = &entry.lease.attrs;
        let unclaimed =
            entry.id == 0 && attrs.data.is_empty() && same_public(attrs, &self.lease.attrs);
        let by_us = entry.id != 0 && known == Some(entry.id);
        if !(same_holder(attrs, &self.lease.attrs) || unclaimed || by_us) {
            Finding::Taken(attrs.public)
        } else if entry.value == self.value.as_bytes() {
            Finding::Settled(entry.id)
        } else {
            Finding::Edited(entry.changed, Some(entry.id))
        }
    }

    /// The key stands under this etcd lease, which may be that of an earlier run.
    async fn adopt(&mut self, id: i64) -> Result<(), StoreError> {
        if self.tenure.is_none_or(|tenure| tenure.id != id) {
            let granted = if id == 0 {
                None
            } else {
                self.store.granted(id).await?
            };
            let ttl = granted
                .map(Duration::from_secs)
                .or(self.tenure.map(|tenure| tenure.ttl));
            self.set_tenure(Tenure {
                id,
                ttl: ttl.unwrap_or(USUAL_TTL),
            });
        }
        Ok(())
    }

    async fn restore(&mut self, changed: i64, id: Option<i64>) -> Result<Option<i64>, StoreError> {
        let id = match id {
            Some(id) => {
                self.adopt(id).await?;
                id
            }
            None => self.live_etcd_lease().await?,
        };
        tracing::info!(
            key = self.name,
            "somebody edited the own lease; restoring it"
        );
        self.store
            .replace(&self.lease.key, changed, &self.value, id, &[])
            .await
    }

    async fn take_back(&mut self, listing: &Listing) -> Result<Option<i64>, StoreError> {
        let reason = format!(
            "etcd key {} is gone: deleted, or run out while etcd couldn't be reached",
            self.name
        );
        self.say_lost(reason);
        let id = self.live_etcd_lease().await?;
        match self
            .store
            .create(listing, &self.lease.key, &self.value, id, &[])
            .await?
        {
            Created::Yes(revision) => Ok(Some(revision)),
            Created::Overtaken => Ok(None),
        }
    }

    /// The etcd lease of this tenure if it still lives, else a new one. A reservation that was deleted is none any more.
    async fn live_etcd_lease(&mut self) -> Result<i64, StoreError> {
        let ttl = self.tenure.map_or(USUAL_TTL, |tenure| tenure.ttl);
        if let Some(Tenure { id, .. }) = self.tenure
            && id != 0
            && self.store.renew(id).await?
        {
            return Ok(id);
        }
        let id = self.store.new_etcd_lease(ttl).await?;
        self.set_tenure(Tenure { id, ttl });
        Ok(id)
    }

    /// Renews the etcd lease. False if it is gone, and the key with it.
    async fn renew(&self) -> Result<bool, StoreError> {
        match self.tenure {
            Some(Tenure { id, .. }) if id != 0 => self.store.renew(id).await,
            _ => Ok(true),
        }
    }

    /// Three times within the lease time, so that one lost renewal harms nobody.
    fn renewal(&self) -> Interval {
        let every = match self.tenure {
            Some(Tenure { id, ttl }) if id != 0 => (ttl / 3).max(SHORTEST_RENEWAL),
            _ => USUAL_TTL,
        };
        let mut interval = interval_at(Instant::now() + jittered(every), every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    fn set_tenure(&mut self, tenure: Tenure) {
        self.tenure = Some(tenure);
        self.store.remember(self.lease.key, tenure);
    }

    fn say(&self, holding: Holding) {
        self.standing.send_if_modified(|current| {
            let differs = *current != holding;
            *current = holding;
            differs
        });
    }

    /// The first reason for a loss is the best one.
    fn say_lost(&self, reason: String) {
        self.standing.send_if_modified(|current| {
            let news = !matches!(current, Holding::Lost { .. });
            if news {
                *current = Holding::Lost { reason };
            }
            news
        });
    }
}

/// Whether a response tells of a change after `revision`, and whether the last one is a deletion.
fn change_after(response: &WatchResponse, revision: i64) -> Option<bool> {
    let later = |event: &&Event| {
        event
            .kv()
            .is_some_and(|pair| pair.mod_revision() > revision)
    };
    let last = response.events().iter().rfind(later)?;
    Some(last.event_type() == EventType::Delete)
}

/// Slows repairs down while somebody keeps undoing them.
#[derive(Default)]
struct Fight {
    last: Option<Instant>,
    pace: Backoff,
}

impl Fight {
    async fn pause(&mut self) {
        match self.last {
            Some(last) if last.elapsed() < QUIET => sleep(self.pace.next()).await,
            _ => self.pace = Backoff::default(),
        }
        self.last = Some(Instant::now());
    }
}
