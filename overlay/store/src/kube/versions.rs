//! Versions of the API server only grow, unless it was restored from a backup. Then a watch that goes on from the version
//! it had would receive nothing until the server has caught up: it is noticed that versions went back, and everything is
//! listed afresh.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tweed_host::random;

use super::connect::Servers;
use super::node::NodeRecord;
use crate::backoff::jittered;

/// How often the API server is asked for its version: an empty list, 300 bytes. 5,000 nodes ask 83 times a second.
const ASK: Duration = Duration::from_secs(60);
/// A name that no Node can have, so that the answer is an empty list at the present version.
const NOBODY: &str = "metadata.name=..tweed.asks.for.the.version..";
/// All nodes are listed afresh after this at the latest, in clusters of up to a thousand nodes.
const AFRESH: Duration = Duration::from_secs(600);
/// In larger ones as often as all agents together ask for so many nodes in a second.
const NODES_A_SECOND: u64 = 2_000;

/// What is known of the API server's versions.
#[derive(Debug)]
pub(super) struct Versions {
    highest: Mutex<u64>,
    /// Counts how often they went back.
    restored: watch::Sender<u64>,
    ask: Notify,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            highest: Mutex::default(),
            restored: watch::Sender::new(0),
            ask: Notify::new(),
        }
    }
}

impl Versions {
    /// An object of this version was seen.
    pub(super) fn saw(&self, version: Option<&str>) {
        if let Some(version) = number(version) {
            let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
            *highest = version.max(*highest);
        }
    }

    /// The API server is at this version now.
    fn stands_at(&self, version: Option<&str>) {
        let Some(version) = number(version) else {
            return;
        };
        let before = {
            let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *highest, version)
        };
        if version < before {
            tracing::warn!(
                before,
                now = version,
                "the API server's versions went back: it was restored from a backup; listing everything afresh"
            );
            self.restored.send_modify(|count| *count += 1);
        }
    }

    /// Changes when they have gone back.
    pub(super) fn restored(&self) -> watch::Receiver<u64> {
        self.restored.subscribe()
    }

    /// Has the API server asked at once: connections to it are new.
    pub(super) fn ask(&self) {
        self.ask.notify_one();
    }
}

/// Versions are numbers with every API server that is backed by etcd. Others can't be compared.
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

/// Asks now and then. Never returns.
pub(super) async fn look_out(servers: &Servers, versions: &Versions) -> Infallible {
    loop {
        tokio::select! {
            () = sleep(jittered(ASK)) => {}
            () = versions.ask.notified() => {}
        }
        let Ok(client) = servers.client().await else {
            continue;
        };
        let api = Api::<NodeRecord>::all(client);
        let params = ListParams::default().fields(NOBODY);
        let asked = servers.call("ask the API server for its version", api.list(&params));
        match asked.await {
            Ok(list) => {
                let version = list.metadata.resource_version;
                versions.stands_at(version.as_deref());
            }
            // The watch reports it.
            Err(failure) => tracing::debug!(error = failure.text, "not answered"),
        }
    }
}

/// After which time all nodes are to be listed afresh, whatever the watch says; shortened at random.
pub(super) fn afresh_after(nodes: usize, fraction: f64) -> Duration {
    let nodes = nodes as u64;
    let longest = AFRESH.max(Duration::from_secs(nodes * nodes / NODES_A_SECOND));
    longest.mul_f64(0.8 + 0.2 * fraction)
}

/// A part by which such times are shortened.
pub(super) fn part() -> f64 {
    random::fraction()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_go_back_are_noticed_and_those_that_grow_are_not() {
        let versions = Versions::default();
        let mut restored = versions.restored();
        versions.saw(Some("100"));
        versions.saw(Some("90"));
        for now in ["100", "150", "opaque"] {
            versions.stands_at(Some(now));
            assert!(!restored.has_changed().unwrap(), "{now}");
        }
        versions.stands_at(Some("149"));
        assert!(restored.has_changed().unwrap());
        restored.mark_unchanged();
        // What stands from then on counts.
        versions.stands_at(Some("149"));
        versions.saw(Some("151"));
        versions.stands_at(Some("160"));
        assert!(!restored.has_changed().unwrap());
    }

    #[test]
    fn a_fresh_list_comes_every_ten_minutes_and_costs_a_large_cluster_no_more_than_its_share() {
        let minutes = |nodes, fraction| afresh_after(nodes, fraction).as_secs() / 60;
        assert_eq!(minutes(1, 1.0), 10);
        assert_eq!(minutes(1_000, 1.0), 10);
        assert_eq!(minutes(1_000, 0.0), 8);
        for nodes in [2_000, 5_000] {
            let asked = (nodes * nodes) as f64 / afresh_after(nodes, 1.0).as_secs_f64();
            assert!(asked <= 2_000.0, "{nodes}: {asked} a second");
        }
    }
}
