//! What the store announces for this node while a session lasts, and which changes of it end the session.

use std::net::IpAddr;
use std::time::Instant;

use tweed_model::{ClusterSnapshot, Dual, Family, Lease};

use crate::daemon::common::Common;
use crate::daemon::keepers::uplink::UplinkKeeper;
use crate::daemon::session::Session;

/// Whether the nodes that announce an address of this one have been looked for: only a list that is new to a session says
/// what came before it.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    listed: bool,
}

impl Announcement {
    /// Whether what the store says of this node and others may end the session, for which the uplink is looked at again:
    /// another address is announced for it, or a node without a past announces what is another's.
    pub(super) fn look(
        &mut self,
        (session, snapshot): (&Session, &ClusterSnapshot),
        uplink: &mut UplinkKeeper,
        common: &mut Common,
    ) -> bool {
        if !snapshot.in_sync {
            return false;
        }
        let overwrites = overwrites(session, snapshot).unwrap_or(uplink.wanted.overwrites);
        let contested = match self.listed {
            true => Dual::default(),
            false => contested(session, snapshot),
        };
        self.listed = true;
        let wanted = &mut uplink.wanted;
        if overwrites == wanted.overwrites && contested.is_empty() {
            return false;
        }
        wanted.overwrites = overwrites;
        if !contested.is_empty() {
            let known = &mut wanted.known;
            known.before = session.uplink.known.before;
            known.others.extend(contested.values());
            common.known = known.clone();
        }
        uplink.look_now(Instant::now());
        true
    }
}

/// Addresses that the store announces instead of this node's own, if any.
fn overwrites(session: &Session, snapshot: &ClusterSnapshot) -> Option<Dual<IpAddr>> {
    let own = snapshot.leases.get(&session.lease.key);
    // Others write to a node's entry only where the store knows nodes by name.
    let own = own.filter(|own| own.node.is_some())?;
    let asked = &session.request.attrs.public;
    let differs = |family, addr: &_| (asked.get(family) != Some(addr)).then_some(*addr);
    Some(own.attrs.public.filter_map(differs))
}

/// The addresses of this node that another one announces, unless an operator named them, and it was not known by them
/// before.
fn contested(session: &Session, snapshot: &ClusterSnapshot) -> Dual<IpAddr> {
    let others = snapshot.leases.values();
    let others: Vec<_> = others
        .filter(|lease| lease.key != session.lease.key)
        .collect();
    session.settled.filter_map(|family, addr| {
        let known = session.uplink.known.before.get(family) == Some(addr);
        let announces = |lease: &Lease| lease.attrs.public.get(family) == Some(addr);
        let taken = |lease: &Lease| announces(lease) && !is_former(session, lease, family);
        (!known && others.iter().any(|lease| taken(lease))).then_some(*addr)
    })
}

/// Whether a lease is an earlier one of this node: it announces our VTEP.
fn is_former(session: &Session, lease: &Lease, family: Family) -> bool {
    let announced = session.backends.announced_mac(&lease.attrs, family);
    announced == Some(session.node.identity.mac(family))
}
