//! Following the store: one list, then every change after it. Whenever a change may have been missed, a fresh list is
//! compared whole. What is known stays in force while etcd can't be reached.

use std::convert::Infallible;
use std::sync::Arc;

use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep, sleep_until};
use tweed_host::random;
use tweed_model::ClusterSnapshot;

use super::client::{self, Member};
use super::listing::{self, Listing};
use super::network::Network;
use super::pulse::{self, Turn};
use super::stream;
use crate::StoreError;
use crate::backoff::Backoff;

const WHAT: &str = "watch leases";
/// How many waiting responses become one snapshot, when many nodes change at once.
const COALESCED: usize = 256;
/// After so many bytes of changes all is listed anew: what a list may be long at most holds for what is held.
const CHANGED: usize = 16 << 20;

pub(super) async fn follow(network: &Network, out: &Sender<Arc<ClusterSnapshot>>, relist: &Notify) {
    let mut trouble = Backoff::default();
    let mut said = String::new();
    loop {
        let started = Instant::now();
        match follow_once(network, out, relist).await {
            Ok(never) => match never {},
            Err(error) => {
                trouble.reset_after(started.elapsed());
                say_once(&mut said, error.to_string());
                sleep(trouble.next()).await;
            }
        }
    }
}

/// An outage of hours is one line, not one for each attempt.
fn say_once(said: &mut String, error: String) {
    if *said != error {
        tracing::warn!(
            error,
            "leases are no longer watched; keeping what is known, and trying again"
        );
        *said = error;
    }
}

async fn follow_once(
    network: &Network,
    out: &Sender<Arc<ClusterSnapshot>>,
    relist: &Notify,
) -> Result<Infallible, StoreError> {
    let listing = listing::read(&network.cluster, &network.keys).await?;
    let mut view = View {
        network,
        out,
        snapshot: ClusterSnapshot::default(),
        revision: 0,
        seen: 0,
        listed: Instant::now(),
        changed: 0,
        news: false,
    };
    view.replace(listing)?;
    let member = network.cluster.member().await?;
    let mut stream = open(network, &member, view.revision).await?;
    let silent = pulse::until_silent(network, &member, Turn::Second);
    tokio::pin!(silent);
    loop {
        let afresh = network.relist.mul_f64(0.8 + 0.2 * random::fraction());
        tokio::select! {
            error = &mut silent => return Err(error),
            () = relist.notified() => view.replace(listing::read(&network.cluster, &network.keys).await?)?,
            () = sleep_until(view.listed + afresh) => {
                view.replace(listing::read(&network.cluster, &network.keys).await?)?;
            }
            message = stream.message() => {
                let mut next = Some(message);
                let mut handled = 0;
                while let Some(message) = next.take() {
                    view.apply(&stream::checked((&network.cluster, &member), WHAT, message)?)?;
                    handled += 1;
                    if handled < COALESCED {
                        next = stream.message().now_or_never();
                    }
                }
                view.publish();
                if view.changed > CHANGED {
                    view.replace(listing::read(&network.cluster, &network.keys).await?)?;
                }
            }
        }
    }
}

/// One stream with two watches: the leases and the configuration.
async fn open(
    network: &Network,
    member: &Member,
    revision: i64,
) -> Result<WatchStream, StoreError> {
    let from = WatchOptions::new().with_start_revision(revision + 1);
    let opening = async {
        let mut watcher = client::watcher(&member.client);
        let leases = from.clone().with_prefix();
        let mut stream = watcher.watch(network.keys.subnets(), Some(leases)).await?;
        stream.watch(network.keys.config(), Some(from)).await?;
        Ok(stream)
    };
    stream::open((&network.cluster, member), WHAT, opening).await
}

/// The snapshot as it grows, and what others have been shown of it.
struct View<'a> {
    network: &'a Network,
    out: &'a Sender<Arc<ClusterSnapshot>>,
    snapshot: ClusterSnapshot,
    /// Changes up to here are in the snapshot. A list overtakes the events that are still on their way.
    revision: i64,
    /// The highest revision that etcd has named.
    seen: i64,
    /// When it was listed last.
    listed: Instant,
    /// Bytes of changes since then.
    changed: usize,
    /// The snapshot says something that others have not been shown.
    news: bool,
}

impl View<'_> {
    /// Revisions only grow, unless etcd was restored from a backup: then the watch, which goes on from a revision that is
    /// not reached yet, must be begun anew.
    fn replace(&mut self, listing: Listing) -> Result<(), StoreError> {
        if listing.revision < self.seen {
            return Err(StoreError::Unavailable(format!(
                "etcd was at revision {}, and is at {} now: it was restored from a backup",
                self.seen, listing.revision
            )));
        }
        self.seen = listing.revision;
        self.revision = listing.revision;
        self.listed = Instant::now();
        self.changed = 0;
        self.snapshot = listing.into_snapshot(self.network.next_listing());
        self.news = true;
        self.publish();
        Ok(())
    }

    fn apply(&mut self, response: &WatchResponse) -> Result<(), StoreError> {
        let revision = response.header().map_or(0, |header| header.revision());
        self.seen = self.seen.max(revision);
        for event in response.events() {
            let pair = event
                .kv()
                .filter(|pair| pair.mod_revision() > self.revision);
            if let Some(pair) = pair {
                self.changed += pair.key().len() + pair.value().len();
                self.news |= listing::apply(&mut self.snapshot, &self.network.keys, event);
            }
        }
        listing::bounded(self.snapshot.leases.len() + self.snapshot.broken.len())
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.news) {
            self.out.send_replace(Arc::new(self.snapshot.clone()));
        }
    }
}
