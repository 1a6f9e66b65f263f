//! Keeping the own lease: its etcd lease is renewed, its key watched. Whatever happens, the same question is asked:
//! what stands under the key now, and what does that make of us?

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchOptions, WatchResponse};
use tokio::sync::watch::Sender;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tweed_model::{Dual, Lease, wire};

use super::client::{self, Member};
use super::etcd_lease::Attachment;
use super::grant::Created;
use super::listing::{self, Listing};
use super::network::Network;
use super::pulse::{self, Turn};
use super::stream;
use crate::backoff::{Backoff, jittered};
use crate::standing::{Fight, Finding, find, say, say_lost, say_unsure};
use crate::{Ended, Held, Holding, StoreError};

const WHAT: &str = "watch the own lease";
/// A reservation is looked at this often.
const DAY: Duration = Duration::from_hours(24);
const SHORTEST_RENEWAL: Duration = Duration::from_millis(300);

/// A lease in etcd.
pub struct EtcdHeld {
    pub(super) network: Arc<Network>,
    pub(super) lease: Lease,
    pub(super) attachment: Attachment,
}

impl fmt::Debug for EtcdHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EtcdHeld").field(&self.lease).finish()
    }
}

impl Held for EtcdHeld {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn keep(self, standing: Sender<Holding>) -> Ended {
        let mut keeper = Keeper {
            network: &self.network,
            lease: &self.lease,
            name: self.network.keys.subnet(&self.lease.key),
            value: wire::format_attrs(&self.lease.attrs),
            attachment: self.attachment,
            standing: &standing,
            last_answer: Instant::now(),
        };
        let mut trouble = Backoff::default();
        loop {
            let started = Instant::now();
            match keeper.hold().await {
                Ok(never) => match never {},
                Err(Stop::Taken(by)) => {
                    say(&standing, Holding::Taken { by });
                    return Ended::Taken(by);
                }
                Err(Stop::Failed(error)) => {
                    say_unsure(&standing, error, keeper.last_answer);
                    trouble.reset_after(started.elapsed());
                    sleep(trouble.next()).await;
                }
            }
        }
    }
}

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

struct Keeper<'a> {
    network: &'a Network,
    lease: &'a Lease,
    name: String,
    value: String,
    attachment: Attachment,
    standing: &'a Sender<Holding>,
    /// When etcd answered last.
    last_answer: Instant,
}

impl Keeper<'_> {
    /// Holds the lease until something fails or somebody takes it.
    async fn hold(&mut self) -> Result<Infallible, Stop> {
        let revision = self.secure().await?;
        let member = self.network.cluster.member().await?;
        let stop = self.hold_over(&member, revision).await;
        self.last_answer = member.last_answer.last().max(self.last_answer);
        stop
    }

    async fn hold_over(&mut self, member: &Member, mut revision: i64) -> Result<Infallible, Stop> {
        let way = (&self.network.cluster, member);
        let options = WatchOptions::new().with_start_revision(revision + 1);
        let mut watcher = client::watcher(&member.client);
        let opening = watcher.watch(self.name.clone(), Some(options));
        let mut stream = stream::open(way, WHAT, opening).await?;
        let mut renewal = self.renewal();
        let mut fight = Fight::default();
        let silent = pulse::until_silent(self.network, member, Turn::First);
        tokio::pin!(silent);
        loop {
            let well = tokio::select! {
                error = &mut silent => return Err(error.into()),
                message = stream.message() => {
                    let response = stream::checked(way, WHAT, message)?;
                    let change = change_after(&response, revision);
                    if change == Some(EventType::Delete) {
                        let why = format!("etcd key {} was deleted, or its lease ran out", self.name);
                        say_lost(self.standing, why);
                    }
                    if change.is_some() {
                        fight.pause().await;
                    }
                    change.is_none()
                }
                _ = renewal.tick() => self.renew().await?,
            };
            if !well {
                revision = self.secure().await?;
                renewal = self.renewal();
            }
        }
    }

    /// Looks at the key and repairs what is wrong with it. Answers the revision at which all was well.
    async fn secure(&mut self) -> Result<i64, Stop> {
        let mut pace = Backoff::default();
        loop {
            let listing = listing::read(&self.network.cluster, &self.network.keys).await?;
            let unreadable: Vec<_> = listing.unreadable.keys().copied().collect();
            self.last_answer = Instant::now();
            let own = listing.entries.get(&self.lease.key).map(|entry| entry.id);
            let by_us = |_: &Lease| own == self.attachment.live();
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
                .network
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
        let id = match self.attachment.id {
            0 => 0,
            _ => self.live_etcd_lease().await?,
        };
        self.network
            .replace(&self.lease.key, *changed, &self.value, id, &[])
            .await
    }

    /// The key stands under this etcd lease, which may be another one than it did.
    async fn adopt(&mut self, id: i64) -> Result<(), StoreError> {
        if self.attachment.id != id {
            let lasts = match id {
                0 => None,
                _ => self.network.lasts(id).await?,
            };
            let ttl = lasts.map_or(self.attachment.ttl, |lasts| lasts.granted);
            self.attachment = Attachment { id, ttl };
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
            .network
            .create(listing, &self.lease.key, &self.value, id, &[])
            .await?
        {
            Created::Yes(revision) => Ok(Some(revision)),
            Created::Overtaken => Ok(None),
        }
    }

    /// The etcd lease of before if it still lives, else a new one. A reservation that was deleted is none any more.
    async fn live_etcd_lease(&mut self) -> Result<i64, StoreError> {
        let live = self.attachment.live();
        if live.is_none() || !self.renew().await? {
            self.attachment.id = self.network.new_etcd_lease(self.attachment.ttl).await?;
        }
        Ok(self.attachment.id)
    }

    /// Renews the etcd lease. False if it is gone, and the key with it.
    async fn renew(&self) -> Result<bool, StoreError> {
        match self.attachment.live() {
            Some(id) => self.network.renew(id).await,
            None => Ok(true),
        }
    }

    /// Three times within the lease time, so that one lost renewal harms nobody.
    fn renewal(&self) -> Interval {
        let Attachment { ttl, .. } = self.attachment;
        let every = match self.attachment.live() {
            Some(_) => (ttl / 3).max(SHORTEST_RENEWAL),
            None => DAY,
        };
        let mut interval = interval_at(Instant::now() + jittered(every), every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }
}

/// What the last change after `revision` is that a response tells of.
fn change_after(response: &WatchResponse, revision: i64) -> Option<EventType> {
    let later = |event: &&Event| {
        event
            .kv()
            .is_some_and(|pair| pair.mod_revision() > revision)
    };
    response
        .events()
        .iter()
        .rfind(later)
        .map(|event| event.event_type())
}
