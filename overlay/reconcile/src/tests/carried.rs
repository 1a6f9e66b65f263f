//! Peers of our own data plane, which have no route in the kernel that the guard could count.

use super::*;
use tweed_forward::table::Peer;
use tweed_host::KernelError;
use tweed_state::Scope;

/// What is wanted with these peers, as the full list of this number says.
fn carrying(numbers: std::ops::Range<u8>, listings: u64) -> Arc<Desired> {
    let forwarding = Forwarding::towards(numbers);
    Arc::new(Desired {
        peers: forwarding.peers.len(),
        forwarding: Some(Arc::new(forwarding)),
        prune: true,
        listings,
        ..Desired::default()
    })
}

/// A reconciler whose data plane carries these.
fn carried(numbers: std::ops::Range<u8>) -> Reconciler<FakeKernel> {
    let mut reconciler = Reconciler::new(kernel());
    let outcome = pass(&mut reconciler, &carrying(numbers, 1));
    assert!(outcome.is_clean(), "{outcome:?}");
    reconciler
}

fn pass<K: Kernel>(reconciler: &mut Reconciler<K>, want: &Arc<Desired>) -> Outcome {
    let now = Instant::now();
    match reconciler.fast(want, now) {
        Some(outcome) => outcome,
        None => reconciler.full(want, now).unwrap(),
    }
}

fn endpoints(outcome: &Outcome) -> Vec<u8> {
    let forwarding = outcome.forwarding.as_ref().unwrap();
    let last = |peer: &Peer| match peer.endpoint.ip() {
        IpAddr::V4(addr) => addr.octets()[3],
        IpAddr::V6(addr) => panic!("{addr}"),
    };
    forwarding.peers.values().map(last).collect()
}

#[test]
fn peers_of_the_data_plane_are_carried_on_until_the_operator_confirms_an_empty_store() {
    let mut reconciler = carried(2..10);
    let mut last: Option<Arc<Forwarding>> = None;
    for listings in 2..5 {
        let outcome = pass(&mut reconciler, &carrying(2..2, listings));
        assert_eq!(outcome.held, Some(Held::ForOperator { losing: 8 }));
        assert_eq!(endpoints(&outcome), [2, 3, 4, 5, 6, 7, 8, 9]);
        let now = outcome.forwarding.unwrap();
        let same = last.is_none_or(|last| Arc::ptr_eq(&last, &now));
        assert!(same, "the table did not change");
        last = Some(now);
    }
    reconciler.confirm();
    let outcome = pass(&mut reconciler, &carrying(2..2, 4));
    assert!(outcome.held.is_none() && endpoints(&outcome).is_empty());
}

#[test]
fn most_peers_of_the_data_plane_go_with_the_second_list_that_says_so() {
    let mut reconciler = carried(2..12);
    let outcome = pass(&mut reconciler, &carrying(10..13, 2));
    let held = Held::ForSecondList { losing: 8, of: 10 };
    assert_eq!(outcome.held, Some(held));
    assert_eq!(
        endpoints(&outcome),
        [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "a new peer is carried at once"
    );
    let outcome = pass(&mut reconciler, &carrying(10..13, 3));
    assert!(outcome.held.is_none());
    assert_eq!(endpoints(&outcome), [10, 11, 12]);
}

#[test]
fn few_peers_of_the_data_plane_leave_at_once_and_the_table_is_the_one_wanted() {
    let mut reconciler = carried(2..12);
    let want = carrying(5..12, 2);
    let outcome = pass(&mut reconciler, &want);
    assert!(outcome.held.is_none());
    let table = outcome.forwarding.unwrap();
    assert!(Arc::ptr_eq(&table, want.forwarding.as_ref().unwrap()));
}

#[test]
fn before_the_store_is_in_sync_the_data_plane_cuts_no_peer_off() {
    let mut reconciler = carried(2..12);
    let unsure = Desired {
        prune: false,
        ..(*carrying(11..13, 2)).clone()
    };
    let outcome = pass(&mut reconciler, &Arc::new(unsure));
    assert!(outcome.held.is_none());
    assert_eq!(
        endpoints(&outcome),
        [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "nothing is deleted before then"
    );
    let outcome = pass(&mut reconciler, &carrying(4..12, 3));
    assert_eq!(endpoints(&outcome), [4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_subnet_that_has_become_ours_is_carried_to_no_peer() {
    let mut reconciler = carried(2..12);
    let mut want = (*carrying(2..2, 2)).clone();
    let mut forwarding = Forwarding::clone(want.forwarding.as_ref().unwrap());
    forwarding.own = Dual::of_nets(["10.244.3.0/24".parse().unwrap()]);
    want.forwarding = Some(Arc::new(forwarding));
    let outcome = pass(&mut reconciler, &Arc::new(want));
    assert_eq!(outcome.held, Some(Held::ForOperator { losing: 9 }));
    assert!(!endpoints(&outcome).contains(&3));
}

#[test]
fn another_backend_ends_the_data_plane_without_asking() {
    let mut reconciler = carried(2..12);
    let other = Desired {
        forwarding: None,
        ..(*carrying(2..2, 2)).clone()
    };
    let outcome = pass(&mut reconciler, &Arc::new(other));
    assert!(outcome.held.is_none() && outcome.forwarding.is_none());
}

/// A kernel that can't be read.
struct Blind;

impl Kernel for Blind {
    fn observe(&mut self, _: &Scope) -> Result<KernelState, KernelError> {
        Err(KernelError {
            what: "list routes".into(),
            source: std::io::Error::from_raw_os_error(libc::EIO),
        })
    }

    fn apply(&mut self, _: &Op) -> Result<(), KernelError> {
        Ok(())
    }
}

#[test]
fn while_the_kernel_cannot_be_read_the_data_plane_has_its_table_and_cuts_no_peer_off() {
    let mut reconciler = Reconciler::new(Blind);
    let first = carrying(2..4, 1);
    let table = reconciler.carry_unseen(&first).unwrap();
    assert!(Arc::ptr_eq(&table, first.forwarding.as_ref().unwrap()));
    assert!(reconciler.full(&first, Instant::now()).is_err());
    let table = reconciler.carry_unseen(&carrying(3..5, 2)).unwrap();
    assert_eq!(table.peers.len(), 3);
}

#[test]
fn a_held_back_pass_leaves_the_peers_in_the_firewall() {
    let peer = |number| PeerSeed {
        number,
        mac: number,
        near: true,
    };
    let cluster = |peers: std::ops::Range<u8>| Cluster {
        vni: 1,
        peers: peers.map(peer).collect(),
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(kernel());
    let before = settle(&mut reconciler, &cluster(2..10));
    let outcome = reconciler
        .full(&want(&cluster(2..2), 99), Instant::now())
        .unwrap();
    assert_eq!(outcome.held, Some(Held::ForOperator { losing: 8 }));
    let sets = &reconciler.kernel.state.firewall.as_ref().unwrap().sets;
    let wanted = &before.state.firewall.as_ref().unwrap().sets;
    for (name, set) in wanted {
        let mut gone = set.elements.difference(&sets[name].elements);
        assert_eq!(gone.next(), None, "{name}");
    }
    assert!(wanted.values().any(|set| set.elements.len() == 8));
}
