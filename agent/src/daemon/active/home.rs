//! Pods that sit on another subnet than this node's: the node takes that subnet back as soon as it is free.

use std::time::{Duration, Instant};

use tweed_model::subnet::keys_overlap;
use tweed_model::{SubnetKey, Subnets};

use super::Active;
use crate::daemon::common::Common;
use crate::daemon::facts::Facts;
use crate::daemon::inhabited;

/// Between two attempts: the store may know of something that this node can't see.
const AGAIN: Duration = Duration::from_secs(60);

impl Active {
    /// Why the session is to end, where another one would take the subnet on which the pods sit.
    pub(super) fn may_return(&self, common: &mut Common, facts: &Facts) -> Option<String> {
        let (session, snapshot) = (&self.session, &self.snapshot);
        let lately = common.returned.is_some_and(|at| at.elapsed() < AGAIN);
        let astray = facts.earlier_subnet.is_some() && snapshot.in_sync;
        if !astray || session.cut_by != Subnets::Leased || lately {
            return None;
        }
        let home = SubnetKey(inhabited::subnets(&session.config.pools, &facts.bridges));
        let reserved = self.desired.as_ref().map(|desired| &desired.reserved);
        let for_us = reserved.is_some_and(|reserved| reserved.get(&home) == Some(&true));
        let mut others = snapshot.leases.keys().filter(|key| {
            let own = **key == session.lease.key || for_us && **key == home;
            !own && keys_overlap(key, &home)
        });
        if home.0.is_empty() || home == session.lease.key || others.next().is_some() {
            return None;
        }
        common.returned = Some(Instant::now());
        Some(format!("pods sit on {home}, which is free again"))
    }
}
