//! The uplink and what is announced, while a session runs: what of them ends it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tweed_model::{ClusterSnapshot, Dual, Family, Lease};

use super::Running;
use crate::daemon::bootstrap::Session;
use crate::daemon::shared::Daemon;
use crate::host::uplink::{self, Wanted};

/// How often the way to the address of `--iface-can-reach` is looked up.
const REACH: Duration = Duration::from_secs(3);
/// How often the uplink is looked at without an event: one may be lost, or be an echo of our own change.
const LOOK: Duration = Duration::from_secs(15);

impl Running<'_> {
    /// How the uplink is chosen in this session: its addresses stay while the host has them.
    pub(super) fn wanted(session: &Session) -> Wanted {
        let mut wanted = session.uplink.clone();
        wanted.known.before = session.settled;
        wanted
    }

    /// Why a changed uplink ends the session. One that is gone doesn't: there is nothing better to go on with.
    pub(in crate::daemon::session) fn changed_uplink(&mut self, daemon: &Daemon) -> Option<String> {
        self.uplink_read = Instant::now();
        let choice = uplink::choose(&self.wanted);
        let missing = choice.as_ref().err().map(|error| format!("{error:#}"));
        let was_missing = self.no_uplink.is_some();
        if missing != self.no_uplink {
            if let Some(reason) = &missing {
                tracing::warn!(reason, "the uplink can't be used now");
            }
            self.no_uplink.clone_from(&missing);
            daemon.status.update(|status| status.no_uplink = missing);
        }
        let mut choice = choice.ok()?;
        if was_missing {
            return Some("the uplink can be used again".to_owned());
        }
        let node = &self.session.node;
        // That it has lost its learned route changes nothing of what it is allowed to learn.
        choice.uplink.learned_default |= node.uplink.learned_default;
        let same = choice.uplink == node.uplink && choice.public == node.public;
        (!same).then(|| format!("the uplink changed: {}", choice.reason))
    }

    /// While there is no uplink every tick looks for one: what makes the next one fit may be no event of the last. Any
    /// route can decide over what reaches an address, and the kernel does not report each.
    pub(in crate::daemon::session) fn found_uplink(&mut self, daemon: &Daemon) -> Option<String> {
        let by_route = daemon.options.uplink.can_reach.is_some();
        let period = if by_route { REACH } else { LOOK };
        if self.no_uplink.is_none() && self.uplink_read.elapsed() < period {
            return None;
        }
        self.changed_uplink(daemon)
    }

    /// Why what the store says of this node and others ends the session: another address is announced for it, or a node
    /// without a past announces what is another's.
    pub(in crate::daemon::session) fn changed_announcement(
        &mut self,
        snapshot: &ClusterSnapshot,
        daemon: &mut Daemon,
    ) -> Option<String> {
        if !snapshot.in_sync {
            return None;
        }
        let overwrites = self.overwrites(snapshot);
        let contested = match self.listed {
            true => Dual::default(),
            false => self.contested(snapshot),
        };
        self.listed = true;
        if overwrites == self.wanted.overwrites && contested.is_empty() {
            return None;
        }
        self.wanted.overwrites = overwrites;
        if !contested.is_empty() {
            let known = &mut self.wanted.known;
            known.before = self.session.uplink.known.before;
            known.others.extend(contested.values());
            daemon.known = known.clone();
        }
        self.changed_uplink(daemon)
    }

    /// What the store announces instead of this node's own addresses.
    fn overwrites(&self, snapshot: &ClusterSnapshot) -> Dual<IpAddr> {
        let own = snapshot.leases.get(&self.session.lease.key);
        // Only where the store knows nodes by name does anybody else write to a node's entry.
        let Some(own) = own.filter(|own| own.node.is_some()) else {
            return self.wanted.overwrites;
        };
        let asked = &self.session.request.attrs.public;
        let differs = |family, addr: &_| (asked.get(family) != Some(addr)).then_some(*addr);
        own.attrs.public.filter_map(differs)
    }

    /// The addresses of this node that another one announces, as far as nobody named them, and it was not known by them
    /// before.
    fn contested(&self, snapshot: &ClusterSnapshot) -> Dual<IpAddr> {
        let session = self.session;
        let others = snapshot.leases.values();
        let others: Vec<_> = others
            .filter(|lease| lease.key != session.lease.key)
            .collect();
        session.settled.filter_map(|family, addr| {
            let known = session.uplink.known.before.get(family) == Some(addr);
            let announces = |lease: &Lease| lease.attrs.public.get(family) == Some(addr);
            let taken = |lease: &Lease| announces(lease) && !self.is_former(lease, family);
            (!known && others.iter().any(|lease| taken(lease))).then_some(*addr)
        })
    }

    /// Whether a lease is an earlier one of this node: it announces our VTEP.
    fn is_former(&self, lease: &Lease, family: Family) -> bool {
        let session = self.session;
        let announced = session.backends.announced_mac(&lease.attrs, family);
        announced == Some(session.node.identity.mac(family))
    }
}
