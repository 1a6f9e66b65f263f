//! The open tasks with the store: questions, and what it sends by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tweed_model::ClusterSnapshot;
use tweed_store::{Ended, Held, Holding, LeaseStore};

use super::asking::Trouble;
use super::session::{Session, join};

/// Something that the store does as long as it isn't dropped.
pub(super) type Task<'s, T> = Pin<Box<dyn Future<Output = T> + 's>>;

/// The open tasks. A closed channel gives nothing.
pub(super) struct Lines<'s, H> {
    /// The store is asked for a session.
    pub(super) asking: Option<Task<'s, Result<(Session, H), Trouble>>>,
    /// The saved state becomes a session that stands in for the store's.
    pub(super) standing_in: Option<Task<'s, Result<Session, String>>>,
    /// The store's leases are followed.
    pub(super) following: Option<Task<'s, ()>>,
    /// The store keeps the lease; ends with the reason why it can't.
    pub(super) keeping: Option<Task<'s, String>>,
    pub(super) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    pub(super) standings: watch::Receiver<Holding>,
}

impl<H> Default for Lines<'_, H> {
    /// No task is open.
    fn default() -> Self {
        Self {
            asking: None,
            standing_in: None,
            following: None,
            keeping: None,
            snapshots: watch::channel(Arc::default()).1,
            standings: watch::channel(Holding::Held).1,
        }
    }
}

impl<'s, H: Held + 's> Lines<'s, H> {
    /// Follows the store from now on; until its first list these are the peers.
    pub(super) fn follow<S: LeaseStore>(
        &mut self,
        store: &'s S,
        peers: &Arc<ClusterSnapshot>,
        relist: Arc<Notify>,
    ) {
        let (out, snapshots) = watch::channel(Arc::clone(peers));
        self.following = Some(Box::pin(store.follow(out, relist)));
        self.snapshots = snapshots;
    }

    /// Keeps this lease from now on.
    pub(super) fn keep(&mut self, held: H) {
        let (standing, standings) = watch::channel(Holding::Held);
        let key = held.lease().key;
        self.keeping = Some(Box::pin(async move {
            match held.keep(standing).await {
                Ended::Taken(by) => format!("lease {key} was taken by {}", join(&by)),
                Ended::Changed(reason) => reason,
            }
        }));
        self.standings = standings;
    }
}

/// Waits for a task; for ever, where there is none.
pub(super) async fn when<T>(task: &mut Option<Task<'_, T>>) -> T {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever, where nothing is due.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep(due.saturating_duration_since(Instant::now())).await,
        None => std::future::pending().await,
    }
}
