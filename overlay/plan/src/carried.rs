//! Peers that only the data plane's table tells of: its device has one route for all of them.

use std::sync::Arc;

use ipnet::IpNet;
use tweed_forward::forwarding::Forwarding;
use tweed_forward::table::Peer;
use tweed_state::state::RouteKey;
use tweed_state::wanted::Desired;

/// The peers' subnets, each as the key of a route to it.
pub(super) fn subnets(forwarding: &Forwarding) -> impl Iterator<Item = RouteKey> {
    forwarding.peers.keys().copied().map(RouteKey::of)
}

/// Those of the peers carried until now to whose subnet no way is wanted any more.
pub(super) fn cut_off<'a>(want: &'a Desired, carried: &'a Forwarding) -> Vec<(IpNet, &'a Peer)> {
    let Some(wanted) = &want.forwarding else {
        return Vec::new();
    };
    let has_way = |net: &IpNet| want.state.routes.contains_key(&RouteKey::of(*net));
    // A subnet that has become ours is carried to no peer.
    let ours = |net: &IpNet| {
        let mut own = wanted.own.values();
        own.any(|own| own.contains(net) || net.contains(own))
    };
    let changes = wanted.peers.changes(&carried.peers);
    let gone = changes.filter(|change| change.now.is_none());
    let gone = gone.filter(|change| !has_way(change.key) && !ours(change.key));
    gone.filter_map(|change| Some((*change.key, change.before?)))
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
    let kept = kept.into_iter();
    all.peers
        .extend(kept.map(|(subnet, peer)| (subnet, peer.clone())));
    // The same table stays the same value, so that nobody has to look through it.
    Some(if all == **carried {
        Arc::clone(carried)
    } else {
        Arc::new(all)
    })
}
