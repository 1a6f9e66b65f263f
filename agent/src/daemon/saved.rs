//! The state folder in the daemon's terms. A failure to save is reported, and never stops the daemon.

use std::sync::Arc;

use anyhow::Result;
use tweed_model::{ClusterSnapshot, Identity, LocalNode, Seniority};

use crate::config::options::Options;
use crate::events::event::Event;
use crate::events::journal::Journal;
use crate::files::state_dir::{SavedLease, SavedPeer, SavedRun, StateDir};

/// The saved lease with its configuration, if there is one.
pub fn lease(state: &StateDir) -> Option<SavedLease> {
    logged(state.lease()).flatten()
}

/// The saved identity, if there is one.
pub(super) fn identity(state: &StateDir) -> Option<Identity> {
    logged(state.identity()).flatten()
}

/// The peers as an earlier process last saw them, and which of their leases announced what first. The peers are out of
/// sync, so that nothing is deleted on their word.
pub(super) fn peers(state: &StateDir) -> (ClusterSnapshot, Seniority) {
    let saved = logged(state.peers()).unwrap_or_default();
    let read = saved.iter().filter_map(|peer| match peer.lease() {
        Ok(lease) => Some((Arc::new(lease), peer.since)),
        Err(error) => {
            tracing::warn!(peer.key, %error, "saved peer ignored");
            None
        }
    });
    let read: Vec<_> = read.collect();
    let leases = read.iter().map(|(lease, _)| (lease.key, Arc::clone(lease)));
    let snapshot = ClusterSnapshot {
        leases: leases.collect(),
        ..ClusterSnapshot::default()
    };
    (snapshot, Seniority::restored(read))
}

/// Saves the own lease and the configuration it stands on, and remembers the subnets that were held before.
pub(super) fn save_lease(state: &StateDir, lease: &SavedLease) {
    let mut saved = lease.clone();
    if let Some(before) = self::lease(state) {
        saved.follow(&before);
    }
    told_elsewhere(state.save_lease(&saved));
}

/// What the agent last worked with, if that was saved.
pub(super) fn run(state: &StateDir) -> Option<SavedRun> {
    logged(state.run()).flatten()
}

/// Saves what the agent works with, unless that is saved already.
pub(super) fn save_run(state: &StateDir, options: &Options, node: &LocalNode) {
    let run = SavedRun {
        instance: options.host.instance.to_string(),
        given: options.given.clone(),
        uplink: node.uplink.name.clone(),
        addrs: node.uplink.addrs,
        public: node.public,
    };
    if !matches!(state.run(), Ok(Some(saved)) if saved == run) {
        told_elsewhere(state.save_run(&run));
    }
}

/// Saves the identity.
pub(super) fn save_identity(state: &StateDir, identity: &Identity) {
    told_elsewhere(state.save_identity(identity));
}

/// Saves the peers.
pub(super) fn save_peers(state: &StateDir, peers: &ClusterSnapshot, seniority: &Seniority) {
    let peers = peers.leases.values();
    let peers = peers.map(|lease| SavedPeer::new(lease, seniority.of(&lease.key)));
    told_elsewhere(state.save_peers(peers));
}

/// The events that an earlier process has kept.
pub(super) fn events(state: &StateDir) -> Vec<Event> {
    logged(state.events()).unwrap_or_default()
}

/// Saves the events.
pub(super) fn save_events(state: &StateDir, journal: &Journal) {
    let journal = journal.clone();
    told_elsewhere(state.save_events(move || journal.after(0)));
}

/// What can't be saved is one warning in log, status and metrics ([`StateDir::error`]), not one line for each file.
fn told_elsewhere(result: Result<()>) {
    if let Err(error) = result {
        tracing::debug!(error = format!("{error:#}"), "not saved");
    }
}

fn logged<T>(result: Result<T>) -> Option<T> {
    result
        .map_err(|error| tracing::error!(error = format!("{error:#}"), "state folder"))
        .ok()
}
