//! State that all parts of the daemon's loop share, over all sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use ipnet::IpNet;
use tweed_model::{ClusterSnapshot, LeaseAttrs, Seniority, SubnetKey};
use tweed_plan::Choices;
use tweed_reconcile::worker::Wake;

use super::data_plane::DataPlane;
use super::outcome::PassLines;
use super::readings::Reader;
use super::redrawn::Redrawn;
use super::saved;
use crate::config::options::Options;
use crate::files::state_dir::{SavedLease, StateDir};
use crate::host::uplink::Known;

/// Shared by all sessions.
pub(super) struct Common {
    pub(super) options: Options,
    pub(super) choices: Choices,
    pub(super) state: StateDir,
    pub(super) kernel: Sender<Wake>,
    pub(super) reader: Reader,
    /// Readings by the thread that has the files.
    pub(super) files: Reader,
    pub(super) pass_lines: PassLines,
    /// Carries packets, where the backend has no kernel device that does.
    pub(super) data_plane: DataPlane,
    /// Networks of earlier configurations whose routes may still be there.
    pub(super) former: BTreeSet<IpNet>,
    /// Earlier addresses of this node, and those of others.
    pub(super) known: Known,
    /// The lease that the last session lost for good: its key belongs to another node now.
    pub(super) given_up: Option<SubnetKey>,
    /// What this process announced in the lease that it held until now.
    pub(super) until_now: Option<LeaseAttrs>,
    /// When a session last ended for the subnet on which pods sit.
    pub(super) returned: Option<Instant>,
    /// The peers as they are saved.
    pub(super) peers: Arc<ClusterSnapshot>,
    /// Which lease announced what first.
    pub(super) seniority: Seniority,
    /// The MACs that this process has drawn because somebody else had the old ones first.
    pub(super) redrawn: Option<Redrawn>,
}

impl Common {
    /// Starts with what an earlier process has saved of the other nodes.
    pub(super) fn new(
        options: Options,
        choices: Choices,
        (state, data_plane): (StateDir, DataPlane),
        kernel: Sender<Wake>,
        (reader, files): (Reader, Reader),
    ) -> Self {
        let (peers, seniority) = saved::peers(&state);
        Self {
            options,
            choices,
            peers: Arc::new(peers),
            seniority,
            state,
            kernel,
            reader,
            files,
            pass_lines: PassLines::default(),
            data_plane,
            former: BTreeSet::new(),
            known: Known::default(),
            given_up: None,
            until_now: None,
            returned: None,
            redrawn: None,
        }
    }

    /// Takes over what an earlier process or session of this node was known by, and the nodes that it knew.
    pub(super) fn remember(&mut self, saved: Option<&SavedLease>) {
        if self.known.before.is_empty() {
            self.known.before = saved.map(SavedLease::known_by).unwrap_or_default();
        }
        let peers = self.peers.leases.values();
        let addrs = peers.flat_map(|peer| peer.attrs.public.values());
        self.known.others.extend(addrs);
    }

    pub(super) fn wake(&self, wake: Wake) {
        // The thread ends only with the daemon.
        let _ = self.kernel.send(wake);
    }
}
