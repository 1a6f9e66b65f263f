//! Peers that only the data plane's table tells of: its device has one route for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use tweed_forward::forwarding::Forwarding;
use tweed_forward::table::Peer;
use tweed_state::state::RouteKey;
use tweed_state::wanted::Desired;

/// The peers' subnets, each as the key of a route to it.
pub(super) fn subnets(forwarding: &Forwarding) -> impl Iterator<Item = RouteKey> {
    forwarding.peers.iter().flat_map(subnets_of)
}

/// One peer's subnets, likewise.
pub(super) fn subnets_of(peer: &Peer) -> impl Iterator<Item = RouteKey> {
    peer.subnets.values().copied().map(RouteKey::of)
}

/// Those of the peers carried until now to whose subnets no way is wanted any more.
pub(super) fn cut_off<'a>(want: &Desired, carried: &'a Arc<Forwarding>) -> Vec<&'a Peer> {
    let Some(wanted) = &want.forwarding else {
        return Vec::new();
    };
    if Arc::ptr_eq(wanted, carried) {
        return Vec::new();
    }
    let stay: BTreeSet<RouteKey> = subnets(wanted).collect();
    let has_way = |key: &RouteKey| stay.contains(key) || want.state.routes.contains_key(key);
    // A subnet that has become ours is carried to no peer.
    let ours = |net: &IpNet| {
        let mut own = wanted.own.values();
        own.any(|own| own.contains(net) || net.contains(own))
    };
    let peers = carried.peers.iter();
    peers
        .filter(|peer| {
            !subnets_of(peer).any(|key| has_way(&key)) && !peer.subnets.values().any(ours)
        })
        .collect()
}

/// The table wanted, and beside it those carried until now that would be cut off.
pub fn keeping(want: &Desired, carried: &Arc<Forwarding>) -> Option<Arc<Forwarding>> {
    let wanted = want.forwarding.as_ref()?;
    let kept = cut_off(want, carried);
    if kept.is_empty() {
        return Some(Arc::clone(wanted));
    }
    let mut all = Forwarding::clone(wanted);
    all.peers.extend(kept.into_iter().cloned());
    // The same table stays the same value, so that nobody has to look through it.
    Some(if all == **carried {
        Arc::clone(carried)
    } else {
        Arc::new(all)
    })
}
