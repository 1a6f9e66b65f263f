//! What is wanted of the kernel, carried on from snapshot to snapshot.

use std::sync::Arc;

use tweed_model::ClusterSnapshot;
use tweed_plan::{Choices, World};
use tweed_reconcile::worker::Wake;
use tweed_state::Desired;

use super::Active;
use crate::daemon::common::Common;

impl Active {
    /// The state wanted for a snapshot; the kernel thread is told of it where it is another one.
    pub(super) fn plan(
        &mut self,
        snapshot: &Arc<ClusterSnapshot>,
        common: &Common,
    ) -> Arc<Desired> {
        let session = &self.session;
        let world = World {
            config: session.config.clone(),
            backends: session.backends.clone(),
            node: self.node.clone(),
            choices: Choices {
                former: self.former.clone(),
                ..common.choices.clone()
            },
        };
        let (desired, grain) = self.planner.follow(&world, snapshot, &common.seniority);
        let same = |before: &Arc<Desired>| Arc::ptr_eq(before, &desired);
        if self.desired.as_ref().is_some_and(same) {
            return desired;
        }
        tracing::debug!(?grain, peers = desired.peers, "planned");
        self.desired = Some(Arc::clone(&desired));
        self.passes.expect();
        common.wake(Wake::Desired(Arc::clone(&desired)));
        desired
    }
}
