//! Another program that keeps changing what is ours.

use super::*;

#[test]
fn repairs_of_the_same_object_are_reported_as_a_fight() {
    let cluster = Cluster {
        vni: 1,
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let want = settle(&mut reconciler, &cluster);
    let mut fights = Vec::new();
    let mut old = Vec::new();
    let start = Instant::now();
    for round in 0..5 {
        reconciler.kernel.state.addrs.clear();
        let now = start + Duration::from_secs(5 * round);
        let outcome = reconciler.full(&want, now).unwrap();
        let repaired: Vec<_> = outcome.repaired.iter().collect();
        assert_eq!(repaired, ["addr 10.244.1.0/32 dev flannel.1"]);
        fights.extend(outcome.fights);
        old.push(outcome.old_fights_only);
    }
    assert_eq!(old, [false, false, false, false, true]);
    assert_eq!(fights, ["addr 10.244.1.0/32 dev flannel.1"]);
}

#[test]
fn what_is_programmed_for_the_first_time_or_for_another_peer_is_no_repair() {
    let mut cluster = Cluster {
        vni: 1,
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let first = settle(&mut reconciler, &cluster);
    cluster.peers.push(PeerSeed {
        number: 9,
        mac: 9,
        near: true,
    });
    let second = want(&cluster, 41);
    assert_ne!(first.state, second.state);
    let outcome = reconciler.full(&second, Instant::now()).unwrap();
    assert!(!outcome.done.is_empty() && outcome.repaired.is_empty());
}

#[test]
fn a_feature_that_another_program_keeps_switching_on_is_switched_off_each_time_and_reported_as_a_fight()
 {
    let cluster = Cluster {
        vni: 1,
        dual: true,
        tx_checksum: Some("off"),
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let want = settle(&mut reconciler, &cluster);
    let mut fights = Vec::new();
    let start = Instant::now();
    for round in 0..4 {
        let there = &mut reconciler.kernel.state.tx_checksum;
        there.insert("flannel.1".to_owned(), true);
        let now = start + Duration::from_secs(5 * round);
        let outcome = reconciler.full(&want, now).unwrap();
        let done = ["ethtool -K flannel.1 tx-checksum-ip-generic off"];
        assert_eq!(outcome.done, done);
        fights.extend(outcome.fights);
    }
    assert_eq!(fights, ["tx-checksum-ip-generic of flannel.1"]);
}

#[test]
fn a_device_made_again_is_given_its_feature_again_and_one_whose_feature_fails_carries_packets() {
    let cluster = Cluster {
        vni: 1,
        tx_checksum: Some("off"),
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let want = settle(&mut reconciler, &cluster);
    reconciler.kernel.del_link("flannel.1");
    let asked = reconciler.kernel.asked;
    // The device itself comes first.
    reconciler.kernel.faults.insert(asked + 1);
    let outcome = reconciler.full(&want, Instant::now()).unwrap();
    let [failure] = &outcome.failed[..] else {
        panic!("{:?}", outcome.failed);
    };
    assert!(
        failure.op.starts_with("ethtool -K flannel.1 "),
        "{failure:?}"
    );
    assert!(!outcome.blocked && outcome.skipped == 0, "{outcome:?}");
    let outcome = reconciler.full(&want, Instant::now()).unwrap();
    assert_eq!(outcome.done.len(), 1, "{outcome:?}");
    assert_eq!(held(&reconciler, &want), right(&want));
}
