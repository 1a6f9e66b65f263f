//! Keeping the own lease: its etcd lease is renewed, its key watched. Whatever happens, the same question is asked:
//! what stands under the key now, and what does that make of us?

use std::net::IpAddr;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchOptions, WatchResponse};
use tokio::sync::watch::Sender;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tweed_model::{Dual, Lease, wire};

use super::client::{self, Member};
use super::grant::Created;
use super::listing::{self, Listing};
use super::pulse::{self, Turn};
use super::{Etcd, Tenure};
use crate::backoff::{Backoff, jittered};
use crate::standing::{Fight, Finding, find, say, say_lost};
use crate::{Holding, StoreError};

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
                say(standing, Holding::Taken { by });
                return by;
            }
            Stop::Failed(error) => {
                say(
                    standing,
                    Holding::Unsure {
                        reason: error.to_string(),
                    },
                );
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
        let silent = pulse::until_silent(self.store, &member, Turn::First);
        tokio::pin!(silent);
        loop {
            tokio::select! {
                error = &mut silent => return Err(error.into()),
                message = stream.message() => {
                    let response = self.checked(&member, message)?;
                    if let Some(deleted) = change_after(&response, revision) {
                        if deleted {
                            say_lost(self.standing, format!("etcd key {} was deleted, or its lease ran out", self.name));
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
            Ok(Some(response)) => {
                member.heard.now();
                Ok(response)
            }
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
            let unreadable: Vec<_> = listing.unreadable.keys().copied().collect();
            let known = self.tenure.map(|tenure| tenure.id).filter(|id| *id != 0);
            let own = listing.entries.get(&self.lease.key);
            let by_us = |_: &Lease| known.is_some() && own.map(|entry| entry.id) == known;
            let done = match find(self.lease, &listing.leases(), &unreadable, by_us) {
                Finding::Taken(by) => return Err(Stop::Taken(by)),
                Finding::Gone => self.take_back(&listing).await?,
                Finding::Unreadable => self.overwrite(&listing).await?,
                Finding::Ours => self.settle(&listing).await?,
            };
            if let Some(revision) = done {
                say(self.standing, Holding::Held);
                return Ok(revision);
            }
            sleep(pace.next()).await;
        }
    }

    /// Our key is there: sees to its etcd lease and its text.
    async fn settle(&mut self, listing: &Listing) -> Result<Option<i64>, StoreError> {
        let Some(entry) = listing.entries.get(&self.lease.key) else {
            return Ok(None);
        };
        self.adopt(entry.id).await?;
        if entry.value != self.value.as_bytes() {
            tracing::info!(
                key = self.name,
                "somebody edited the own lease; restoring it"
            );
            return self
                .store
                .replace(&self.lease.key, entry.changed, &self.value, entry.id, &[])
                .await;
        }
        Ok(self.renew().await?.then_some(listing.revision))
    }

    async fn overwrite(&mut self, listing: &Listing) -> Result<Option<i64>, StoreError> {
        let Some(changed) = listing.unreadable.get(&self.lease.key) else {
            return Ok(None);
        };
        tracing::warn!(
            key = self.name,
            "somebody made the own lease unreadable; restoring it"
        );
        let id = match self.tenure {
            Some(Tenure { id: 0, .. }) => 0,
            _ => self.live_etcd_lease().await?,
        };
        self.store
            .replace(&self.lease.key, *changed, &self.value, id, &[])
            .await
    }

    /// The key stands under this etcd lease, which may be that of an earlier run.
    async fn adopt(&mut self, id: i64) -> Result<(), StoreError> {
        if self.tenure.is_none_or(|tenure| tenure.id != id) {
            let granted = if id == 0 {
                None
            } else {
                self.store.lasts(id).await?
            };
            let ttl = granted
                .map(|lasts| lasts.granted)
                .or(self.tenure.map(|tenure| tenure.ttl));
            self.set_tenure(Tenure {
                id,
                ttl: ttl.unwrap_or(USUAL_TTL),
            });
        }
        Ok(())
    }

    async fn take_back(&mut self, listing: &Listing) -> Result<Option<i64>, StoreError> {
        let reason = format!(
            "etcd key {} is gone: deleted, or run out while etcd couldn't be reached",
            self.name
        );
        say_lost(self.standing, reason);
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
