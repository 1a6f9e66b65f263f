//! The state folder in the daemon's terms. A failure to save is reported, and never stops the daemon.

use std::sync::Arc;

use anyhow::Result;
use tweed_model::{ClusterSnapshot, Identity, LocalNode, Seniority, SubnetKey};
use tweed_state::Desired;

use crate::config::options::Options;
use crate::files::state_dir::{SavedLease, SavedPeer, SavedRun, StateDir};

/// The saved lease with its configuration, if there is one.
pub(super) fn lease(state: &StateDir) -> Option<SavedLease> {
    logged(state.lease()).flatten()
}

/// The saved identity, if there is one.
pub(super) fn identity(state: &StateDir) -> Option<Identity> {
    logged(state.identity()).flatten()
}

/// The peers as last seen. Out of sync, so that nothing is deleted on their word.
pub(super) fn peers(state: &StateDir) -> ClusterSnapshot {
    let saved = logged(state.peers()).unwrap_or_default();
    let leases = saved.iter().filter_map(|peer| match peer.lease() {
        Ok(lease) => Some((lease.key, lease.into())),
        Err(error) => {
            tracing::warn!(peer.key, %error, "saved peer ignored");
            None
        }
    });
    ClusterSnapshot {
        leases: leases.collect(),
        ..ClusterSnapshot::default()
    }
}

/// Which lease announced what first, as an earlier process remembered it.
pub(super) fn seniority(state: &StateDir) -> Seniority {
    let saved = logged(state.peers()).unwrap_or_default();
    Seniority::restored(saved.iter().filter_map(|peer| {
        let lease = peer.lease().ok()?;
        Some((Arc::new(lease), peer.since))
    }))
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

/// What is to be saved of the other nodes.
pub(super) struct Peers {
    pub(super) snapshot: Arc<ClusterSnapshot>,
    /// The own lease.
    pub(super) own: SubnetKey,
    /// What no node has taken up is nobody's.
    pub(super) desired: Option<Arc<Desired>>,
    pub(super) seniority: Seniority,
}

/// Saves the peers.
pub(super) fn save_peers(state: &StateDir, peers: &Peers) {
    let desired = peers.desired.as_ref();
    let reserved = |key| desired.is_some_and(|desired| desired.reserved.contains_key(key));
    let others = peers.snapshot.leases.values();
    let others = others.filter(|lease| lease.key != peers.own && !reserved(&lease.key));
    let seniority = &peers.seniority;
    let peers = others.map(|lease| SavedPeer::new(lease, seniority.of(&lease.key)));
    told_elsewhere(state.save_peers(peers));
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
