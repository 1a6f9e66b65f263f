//! Routes to peers by nexthop objects: a peer that stays never loses its route.

use super::*;
use tweed_state::{ObjectRef, RouteKey};

/// The kernel, and the routes that must be there after every change.
struct Watched {
    kernel: FakeKernel,
    stay: BTreeSet<RouteKey>,
}

impl Kernel for Watched {
    fn observe(&mut self, scope: &tweed_state::Scope) -> Result<KernelState, KernelError> {
        self.kernel.observe(scope)
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        let result = self.kernel.apply(op);
        let routes = &self.kernel.state.routes;
        let lost = self.stay.iter().find(|key| !routes.contains_key(key));
        assert!(lost.is_none(), "{op} has taken {lost:?} along");
        result
    }
}

fn near(numbers: std::ops::Range<u8>, nexthops: bool) -> Cluster {
    let peer = |number| PeerSeed {
        number,
        mac: number,
        near: true,
    };
    Cluster {
        vni: 1,
        nexthops,
        peers: numbers.map(peer).collect(),
        ..Cluster::default()
    }
}

proptest! {
    #[test]
    fn a_peer_that_stays_has_its_route_all_the_while_whatever_fails(
        before in clusters(), peers in seeds(), nexthops in any::<bool>(), direct in any::<bool>(),
        faults in prop::collection::btree_set(0_usize..120, 0..30),
    ) {
        let mut reconciler = Reconciler::new(kernel());
        let had = settle(&mut reconciler, &before);
        let after = Cluster { peers, nexthops, direct, ..before };
        let want = want(&after, 99);
        let stays = |key: &&RouteKey| had.state.routes.contains_key(key);
        let stay = want.state.routes.keys().filter(stays).copied().collect();
        let kernel = FakeKernel { faults, asked: 0, ..reconciler.kernel };
        let mut watched = Reconciler::new(Watched { kernel, stay });
        for _ in 0..40 {
            watched.confirm();
            let outcome = watched.full(&want, Instant::now()).unwrap();
            if outcome.is_clean() && outcome.done.is_empty() {
                return Ok(());
            }
        }
        prop_assert!(false, "no end");
    }
}

#[test]
fn objects_come_before_their_routes_and_go_after_them() {
    let mut reconciler = Reconciler::new(kernel());
    settle(&mut reconciler, &near(2..3, true));
    let words = |reconciler: &mut Reconciler<FakeKernel>, after: &Cluster| {
        reconciler.confirm();
        let outcome = reconciler.full(&want(after, 99), Instant::now()).unwrap();
        let mut done = outcome.done;
        done.retain(|op| op.contains("nexthop"));
        done
    };
    assert_eq!(
        words(&mut reconciler, &near(3..4, true)),
        [
            "put nexthop via 10.244.3.0 dev flannel.1 onlink",
            "put route 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink by nexthop",
            "delete route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink by nexthop",
            "delete nexthop via 10.244.2.0 dev flannel.1 onlink",
        ]
    );
    // A kernel without them, or an operator that goes back to flannel.
    assert_eq!(
        words(&mut reconciler, &near(3..4, false)),
        ["delete nexthop via 10.244.3.0 dev flannel.1 onlink"]
    );
}

#[test]
fn a_link_goes_after_the_routes_by_objects_over_it() {
    let mut reconciler = Reconciler::new(kernel());
    settle(&mut reconciler, &near(2..4, true));
    let other = Cluster {
        vni: 2,
        ..near(2..4, true)
    };
    reconciler.confirm();
    let plan = reconciler.preview(&want(&other, 99)).unwrap();
    let place = |start: &str| {
        let mut words = plan.ops().map(Op::to_string);
        words.position(|op| op.starts_with(start)).unwrap()
    };
    assert!(place("put route 10.244.3.0/24") < place("delete link flannel.1"));
    let gone = Arc::new(Desired::nothing(want(&near(2..2, true), 99).scope.clone()));
    let plan = reconciler.preview(&gone).unwrap();
    let words: Vec<String> = plan.ops().map(Op::to_string).collect();
    let before = words.iter().take_while(|op| !op.starts_with("delete link"));
    assert_eq!(
        before.filter(|op| op.starts_with("delete route")).count(),
        2
    );
    assert!(
        !words.iter().any(|op| op.starts_with("delete nexthop")),
        "{words:?}"
    );
}

#[test]
fn an_object_that_cannot_be_put_leaves_a_plain_route_until_it_can() {
    let mut reconciler = Reconciler::new(kernel());
    settle(&mut reconciler, &near(2..2, true));
    let want = want(&near(2..3, true), 99);
    let ops: Vec<Op> = reconciler.preview(&want).unwrap().ops().cloned().collect();
    let place = ops.iter().position(|op| matches!(op, Op::PutNextHop(_)));
    let asked = reconciler.kernel.asked;
    reconciler.kernel.faults = place.map(|place| asked + place).into_iter().collect();
    let outcome = reconciler.full(&want, Instant::now()).unwrap();
    assert_eq!(outcome.failed.len(), 1, "{outcome:?}");
    let objects = |reconciler: &Reconciler<FakeKernel>| {
        let routes = reconciler.kernel.state.routes.values();
        routes
            .map(|route| route.next_hop.object())
            .collect::<Vec<_>>()
    };
    assert_eq!(objects(&reconciler), [ObjectRef::Plain]);
    let outcome = reconciler.full(&want, Instant::now()).unwrap();
    assert!(outcome.is_clean());
    assert_eq!(objects(&reconciler), [ObjectRef::Ours]);
}
