//! Devices that are in the way of others, and a change of backend whose new device can't be made.

use super::*;
use tweed_state::{Link, LinkKind};

fn near(vni: u32, host_gw: bool) -> Cluster {
    let peer = |number| PeerSeed {
        number,
        mac: number,
        near: true,
    };
    Cluster {
        vni,
        host_gw,
        peers: vec![peer(2), peer(3)],
        ..Cluster::default()
    }
}

/// A kernel that has been programmed for one cluster, refuses the first change for another one, and then takes it.
fn changed(before: &Cluster, after: &Cluster) -> (Outcome, KernelState, Reconciler<FakeKernel>) {
    let mut reconciler = Reconciler::new(kernel());
    settle(&mut reconciler, before);
    let asked = reconciler.kernel.asked;
    reconciler.kernel.faults = BTreeSet::from([asked]);
    let old = reconciler.kernel.state.clone();
    let outcome = reconciler.full(&want(after, 2), Instant::now()).unwrap();
    (outcome, old, reconciler)
}

#[test]
fn where_the_new_device_cannot_be_made_the_former_one_goes_on_carrying() {
    for before in [near(1, false), near(0, true)] {
        let after = near(7, false);
        let (outcome, old, mut reconciler) = changed(&before, &after);
        assert!(outcome.blocked && outcome.skipped > 0, "{outcome:?}");
        let state = &reconciler.kernel.state;
        assert_eq!(
            (&state.links, &state.routes, &state.neighs, &state.fdb),
            (&old.links, &old.routes, &old.neighs, &old.fdb)
        );
        // Once it can be made, the former one goes.
        let want = want(&after, 3);
        let outcome = reconciler.full(&want, Instant::now()).unwrap();
        assert!(outcome.is_clean(), "{outcome:?}");
        assert_eq!(held(&reconciler, &want), right(&want));
    }
}

#[test]
fn a_link_that_the_own_backend_does_without_keeps_no_pod_from_starting() {
    let mut reconciler = Reconciler::new(kernel());
    reconciler.kernel.faults = BTreeSet::from([0]);
    let mut spare = Desired::clone(&want(&near(1, false), 1));
    spare.spare_links = spare.state.links.keys().cloned().collect();
    let outcome = reconciler.full(&Arc::new(spare), Instant::now()).unwrap();
    assert!(!outcome.blocked && !outcome.is_clean(), "{outcome:?}");
}

#[test]
fn a_device_of_another_kind_under_our_name_is_replaced() {
    let cluster = Cluster {
        vni: 1,
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let want = settle(&mut reconciler, &cluster);
    let link = reconciler.kernel.state.links.get_mut("flannel.1").unwrap();
    *link = Link {
        kind: LinkKind::Other("bridge".into()),
        ..link.clone()
    };
    reconciler.full(&want, Instant::now()).unwrap();
    assert_eq!(held(&reconciler, &want), right(&want));
}
