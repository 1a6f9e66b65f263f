//! A list with nobody left in it, in clusters so small that any loss is few peers.

use super::*;
use tweed_model::{Refusal, SubnetKey};

/// As a list says it that has these peers left.
fn list(peers: u8, listings: u64) -> Desired {
    let mut want = wanted("flannel.1", peers);
    want.scope.networks = vec!["10.244.0.0/16".parse().unwrap()];
    want.listings = listings;
    want.own_listed = true;
    want
}

fn operator(losing: usize) -> GuardVerdict {
    GuardVerdict::Hold(Held::ForOperator { losing })
}

#[test]
fn a_list_without_a_single_peer_where_there_were_some_waits_for_the_operator() {
    for peers in 1..4 {
        let mut guard = Guard::default();
        assert_eq!(
            verdict(&mut guard, &list(peers, 1), peers),
            GuardVerdict::Pass
        );
        for listings in 2..6 {
            let said = verdict(&mut guard, &list(0, listings), peers);
            assert_eq!(said, operator(peers.into()), "{peers} peers");
        }
        guard.confirm();
        assert_eq!(verdict(&mut guard, &list(0, 6), peers), GuardVerdict::Pass);
    }
}

#[test]
fn a_restarted_agent_whose_peers_are_all_gone_waits_too() {
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(0, 1), 1), operator(1));
}

#[test]
fn the_last_peer_whose_lease_is_seen_to_be_removed_goes_at_once() {
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(2, 1), 2), GuardVerdict::Pass);
    assert_eq!(verdict(&mut guard, &list(1, 1), 2), GuardVerdict::Pass);
    assert_eq!(verdict(&mut guard, &list(0, 1), 1), GuardVerdict::Pass);
}

#[test]
fn the_last_two_at_once_and_the_own_lease_with_the_last_one_are_no_operator_s_work() {
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(2, 1), 2), GuardVerdict::Pass);
    assert_eq!(verdict(&mut guard, &list(0, 1), 2), operator(2));
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(1, 1), 1), GuardVerdict::Pass);
    let mut bare = list(0, 1);
    bare.own_listed = false;
    assert_eq!(verdict(&mut guard, &bare, 1), operator(1));
}

#[test]
fn the_first_peers_that_come_back_do_not_cost_the_others_their_routes() {
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(3, 1), 3), GuardVerdict::Pass);
    for listings in 2..5 {
        let said = verdict(&mut guard, &list(0, listings), 3);
        assert_eq!(said, operator(3));
    }
    let second = GuardVerdict::Hold(Held::ForSecondList { losing: 2, of: 3 });
    for listings in [5, 5, 6] {
        assert_eq!(verdict(&mut guard, &list(1, listings), 3), second);
    }
    assert_eq!(
        verdict(&mut guard, &list(3, 6), 3),
        GuardVerdict::Pass,
        "all are back"
    );

    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(0, 2), 3), operator(3));
    for listings in 3..7 {
        assert_eq!(verdict(&mut guard, &list(1, listings), 3), second);
    }
    assert_eq!(
        verdict(&mut guard, &list(1, 7), 3),
        GuardVerdict::Pass,
        "two are gone for good"
    );
}

#[test]
fn refused_leases_count_as_peers_and_routes_of_an_earlier_network_do_not() {
    let mut guard = Guard::default();
    let mut refused = list(0, 2);
    for number in 2..4 {
        let (key, _) = tunnel_route("flannel.1", number);
        let key = SubnetKey(tweed_model::Dual::of_nets([key.dst]));
        refused.refused.insert(key, Refusal::NothingUsable);
    }
    assert_eq!(verdict(&mut guard, &refused, 2), GuardVerdict::Pass);
    let mut moved = list(0, 2);
    moved.scope.networks = vec!["10.99.0.0/16".parse().unwrap()];
    assert_eq!(verdict(&mut guard, &moved, 2), GuardVerdict::Pass);
}

#[test]
fn one_bad_entry_in_an_empty_store_does_not_confirm_it() {
    let mut guard = Guard::default();
    assert_eq!(verdict(&mut guard, &list(2, 1), 2), GuardVerdict::Pass);
    let mut bad = list(0, 2);
    let key = SubnetKey(tweed_model::Dual::of_nets(["10.244.99.0/24"
        .parse()
        .unwrap()]));
    bad.refused.insert(key, Refusal::NothingUsable);
    for listings in 2..6 {
        bad.listings = listings;
        assert_eq!(verdict(&mut guard, &bad, 2), operator(2));
    }
}
