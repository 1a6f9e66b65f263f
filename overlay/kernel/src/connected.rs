//! The routes that the kernel made by itself, as to the networks on its links. None of them is ever replaced by ours.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netlink, RouteFilter, RouteInfo, TABLE_MAIN};
use tweed_state::RouteKey;

use super::ownership::MADE_BY_KERNEL;

/// A list of routes that is older is read again before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// The keys of such routes in the main table.
#[derive(Debug, Default)]
pub(super) struct Connected {
    keys: BTreeSet<RouteKey>,
    read: Option<Instant>,
}

impl Connected {
    /// Clears the keys: all routes are about to be read.
    pub(super) fn start(&mut self) {
        self.keys.clear();
        self.read = Some(Instant::now());
    }

    /// Whether one is known that a route with this key would take the place of, or go before.
    pub(super) fn yield_to(&self, key: &RouteKey) -> bool {
        let last = RouteKey {
            metric: u32::MAX,
            ..*key
        };
        self.keys.range(*key..=last).next().is_some()
    }

    /// Notes a route that was read.
    pub(super) fn note(&mut self, info: &RouteInfo) {
        if MADE_BY_KERNEL.contains(&info.protocol) {
            self.keys.insert(route_key(info));
        }
    }
}

/// As [`Connected::yield_to`], by what the kernel has now. Costs a list of all routes, once a second at most.
pub(super) fn is_kernels(
    connected: &mut Connected,
    netlink: &mut Netlink,
    key: &RouteKey,
) -> Result<bool, KernelError> {
    if connected.read.is_none_or(|at| at.elapsed() >= FRESH) {
        connected.start();
        for family in Family::BOTH {
            let table = Some(TABLE_MAIN);
            for info in netlink.routes(&RouteFilter { family, table })? {
                connected.note(&info);
            }
        }
    }
    Ok(connected.yield_to(key))
}

/// A route's key in the main table.
pub(super) fn route_key(info: &RouteInfo) -> RouteKey {
    RouteKey {
        dst: info.dst,
        metric: info.metric,
    }
}
