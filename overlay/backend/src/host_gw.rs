//! Backend `host-gw`: each peer's subnet is routed by way of the peer. Without a tunnel there is no overhead, but every
//! peer must be a neighbour on the uplink.

use tweed_model::{Admission, LinkName, LocalNode, PeerSide, Refusal};
use tweed_state::{NextHop, ROUTE_PROTOCOL, Route, RouteKey};

use super::intent::Intent;
use super::outline::Outline;

pub(super) const NAME: &str = "host-gw";
/// What a lease announces.
const WIRE_TYPE: &str = "host-gw";

pub(super) fn outline() -> Outline {
    Outline {
        name: NAME,
        wire_type: WIRE_TYPE,
        direct: true,
        ..Outline::default()
    }
}

pub(super) fn intent(node: &LocalNode, peers: &Admission) -> Intent {
    let mut intent = Intent::default();
    let uplink = LinkName::from(node.uplink.name.as_str());
    for peer in peers.announcing(WIRE_TYPE) {
        let mut sides = peer.sides.values();
        if let Some(far) = sides.find(|side| !node.uplink.reaches_directly(&side.public)) {
            let refusal = unreachable(node, far);
            intent.refused.insert(peer.lease.key, refusal);
            continue;
        }
        let routes = peer.sides.values().map(|side| direct_route(&uplink, side));
        intent.state.routes.extend(routes);
    }
    intent
}

/// The route to a peer that is a neighbour on the uplink.
pub(super) fn direct_route(uplink: &LinkName, side: &PeerSide) -> (RouteKey, Route) {
    let route = Route {
        next_hop: NextHop::via(Some(side.public), uplink.clone(), false),
        protocol: ROUTE_PROTOCOL,
    };
    (RouteKey::of(side.subnet), route)
}

fn unreachable(node: &LocalNode, side: &PeerSide) -> Refusal {
    Refusal::BadData(format!(
        "{} is not a neighbour on {}: host-gw needs all nodes on one link (backend vxlan with DirectRouting does not)",
        side.public, node.uplink.name
    ))
}
