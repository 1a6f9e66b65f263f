//! Backend `host-gw`: each peer's subnet is routed by way of the peer. Without a tunnel there is no overhead, but every
//! peer must be a neighbour on the uplink.

use tweed_model::{Admission, LinkName, LocalNode, PeerSide, Refusal};
use tweed_state::{KernelState, NextHop, ROUTE_PROTOCOL, Route, RouteKey};

/// What a lease announces.
pub(super) const WIRE_TYPE: &str = "host-gw";

pub(super) fn program(node: &LocalNode, admission: &mut Admission) -> KernelState {
    let mut state = KernelState::default();
    let uplink = LinkName::from(node.uplink.name.as_str());
    admission.sift(WIRE_TYPE, |peer| {
        let mut sides = peer.sides.values();
        if let Some(far) = sides.find(|side| !node.uplink.reaches_directly(&side.public)) {
            return Err(unreachable(node, far));
        }
        let routes = peer.sides.values().map(|side| direct_route(&uplink, side));
        state.routes.extend(routes);
        Ok(())
    });
    state
}

/// The route to a peer that is a neighbour on the uplink.
pub(super) fn direct_route(uplink: &LinkName, side: &PeerSide) -> (RouteKey, Route) {
    let next_hop = NextHop::Via {
        gateway: Some(side.public),
        dev: uplink.clone(),
        onlink: false,
    };
    (
        RouteKey::of(side.subnet),
        Route {
            next_hop,
            protocol: ROUTE_PROTOCOL,
        },
    )
}

fn unreachable(node: &LocalNode, side: &PeerSide) -> Refusal {
    Refusal::BadData(format!(
        "{} is not a neighbour on {}: host-gw needs all nodes on one link (backend vxlan with DirectRouting does not)",
        side.public, node.uplink.name
    ))
}
