mod emptied;

use std::collections::BTreeSet;

use tweed_forward::forwarding::Forwarding;
use tweed_model::{Mac, SharedMap};
use tweed_state::{
    BRIDGE_FILTER, Desired, KernelState, Link, LinkKind, NextHop, Op, ROUTE_PROTOCOL, Route,
    RouteKey, Vxlan, plan,
};

use super::*;

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn vtep(vni: u32) -> Link {
    let kind = LinkKind::Vxlan(Vxlan {
        vni,
        port: 8472,
        local: "198.18.0.1".parse().unwrap(),
        underlay: "eth0".into(),
        learning: false,
        gbp: false,
    });
    Link {
        kind,
        mtu: 1450,
        mac: mac(1),
        up: true,
        alias: "alias".into(),
    }
}

fn tunnel_route(dev: &str, number: u8) -> (RouteKey, Route) {
    let next_hop = NextHop::via(
        Some(format!("10.244.{number}.0").parse().unwrap()),
        dev.into(),
        true,
    );
    let key = RouteKey::of(format!("10.244.{number}.0/24").parse().unwrap());
    (
        key,
        Route {
            next_hop,
            protocol: ROUTE_PROTOCOL,
        },
    )
}

/// A node with `peers` peers behind one VTEP.
fn wanted(dev: &str, peers: u8) -> Desired {
    let mut state = KernelState::default();
    state.links.insert(dev.into(), vtep(1));
    state
        .addrs
        .insert((dev.into(), "10.244.1.0/32".parse().unwrap()));
    for number in 2..2 + peers {
        let gateway = format!("10.244.{number}.0").parse().unwrap();
        state.neighs.insert((dev.into(), gateway), mac(number));
        state.fdb.insert(
            (dev.into(), mac(number)),
            format!("198.18.0.{number}").parse().unwrap(),
        );
        let (key, route) = tunnel_route(dev, number);
        state.routes.insert(key, route);
    }
    Desired {
        state,
        prune: true,
        listings: 1,
        peers: peers.into(),
        ..Desired::default()
    }
}

fn words(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_done_when_nothing_differs() {
    let want = wanted("flannel.1", 3);
    assert!(plan(&want, &want.state).is_empty());
}

#[test]
fn an_empty_kernel_is_filled_from_the_ground_up() {
    let want = wanted("flannel.1", 1);
    let puts = words(&plan(&want, &KernelState::default()).puts);
    let order = ["add link", "add addr", "put neigh", "put fdb", "put route"];
    assert_eq!(puts.len(), order.len());
    for (op, start) in puts.iter().zip(order) {
        assert!(op.starts_with(start), "{op}");
    }
}

#[test]
fn a_peer_that_left_goes_from_the_top_down() {
    let want = wanted("flannel.1", 0);
    let have = wanted("flannel.1", 1).state;
    let plan = plan(&want, &have);
    assert!(plan.puts.is_empty());
    let deletes = words(&plan.deletes);
    assert_eq!(
        deletes,
        [
            "delete route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
            "delete fdb 02:00:00:00:00:02 dst 198.18.0.2 dev flannel.1",
            "delete neigh 10.244.2.0 dev flannel.1",
        ]
    );
}

#[test]
fn before_the_store_is_in_sync_nothing_is_deleted() {
    let want = Desired {
        prune: false,
        ..wanted("flannel.1", 0)
    };
    assert!(plan(&want, &wanted("flannel.1", 3).state).is_empty());
}

#[test]
fn a_replaced_link_takes_its_dependants_along_and_gets_them_back() {
    let mut want = wanted("flannel.1", 2);
    let have = want.state.clone();
    want.state.links.insert("flannel.1".into(), vtep(2));
    let plan = plan(&want, &have);
    let puts = words(&plan.puts);
    assert_eq!(puts[0], "delete link flannel.1");
    assert!(
        puts[1].starts_with("add link flannel.1 vxlan id 2"),
        "{}",
        puts[1]
    );
    assert_eq!(
        puts.len(),
        2 + 1 + 3 * 2,
        "address, and three entries a peer: {puts:?}"
    );
    assert!(plan.deletes.is_empty());
}

#[test]
fn a_changed_mtu_or_mac_keeps_the_link() {
    let want = wanted("flannel.1", 2);
    let mut have = want.state.clone();
    if let Some(link) = have.links.get_mut("flannel.1") {
        link.mtu = 1400;
        link.mac = mac(77);
    }
    let puts = words(&plan(&want, &have).puts);
    assert!(puts[0].starts_with("set link flannel.1") && puts[0].contains("mtu 1450"));
    let neighbours = puts[1..].iter().all(|op| op.starts_with("put neigh"));
    assert!(
        neighbours && puts.len() == 3,
        "a new address loses the neighbours: {puts:?}"
    );
}

#[test]
fn a_stale_vtep_goes_last_and_its_entries_with_it() {
    let want = wanted("flannel.2", 2);
    let mut have = wanted("flannel.1", 2).state;
    have.links.insert("flannel.2".into(), vtep(1));
    let plan = plan(&want, &have);
    assert_eq!(words(&plan.deletes), ["delete link flannel.1"]);
    assert_eq!(
        plan.puts
            .iter()
            .filter(|op| matches!(op, Op::PutRoute(..)))
            .count(),
        2
    );
}

#[test]
fn a_device_of_another_kind_under_a_name_that_is_not_wanted_stays() {
    let want = wanted("flannel.1", 0);
    let mut have = want.state.clone();
    have.links.insert(
        "flannel-v6.1".into(),
        Link {
            kind: LinkKind::Other("dummy".into()),
            ..vtep(1)
        },
    );
    assert!(plan(&want, &have).is_empty());
}

#[test]
fn a_peer_that_changes_its_mac_is_reachable_all_the_while() {
    let mut want = wanted("flannel.1", 1);
    let have = want.state.clone();
    want.state.fdb =
        SharedMap::from([(("flannel.1".into(), mac(9)), "198.18.0.2".parse().unwrap())]);
    want.state.neighs =
        SharedMap::from([(("flannel.1".into(), "10.244.2.0".parse().unwrap()), mac(9))]);
    let plan = plan(&want, &have);
    assert_eq!(plan.puts.len(), 2);
    assert_eq!(
        words(&plan.deletes),
        ["delete fdb 02:00:00:00:00:02 dst 198.18.0.2 dev flannel.1"]
    );
}

#[test]
fn only_chains_that_drop_get_accept_rules() {
    use tweed_model::Family;
    use tweed_nft::ForeignForward;
    let mut want = wanted("flannel.1", 0);
    let accept = ForeignForward {
        accept: BTreeSet::from(["10.244.0.0/16".parse().unwrap()]),
    };
    want.state.foreign_forward.insert(Family::V4, accept);
    let mut have = want.state.clone();
    have.foreign_forward.clear();
    assert!(plan(&want, &have).is_empty());
    have.foreign_forward
        .insert(Family::V4, ForeignForward::default());
    assert_eq!(
        words(&plan(&want, &have).puts),
        ["put IPv4 FORWARD accept rules: accept [10.244.0.0/16]"]
    );
    std::mem::swap(&mut want.state, &mut have);
    let plan = plan(&want, &have);
    assert_eq!(words(&plan.puts), ["delete IPv4 FORWARD accept rules"]);
}

fn verdict(guard: &mut Guard, want: &Desired, have: u8) -> GuardVerdict {
    let have = wanted("flannel.1", have).state;
    guard.check(&plan(want, &have), want, &have, None)
}

#[test]
fn the_guard_lets_small_losses_pass() {
    let mut guard = Guard::default();
    assert_eq!(
        verdict(&mut guard, &wanted("flannel.1", 1), 4),
        GuardVerdict::Pass
    );
    assert_eq!(
        verdict(&mut guard, &wanted("flannel.1", 10), 20),
        GuardVerdict::Pass
    );
}

#[test]
fn the_guard_wants_a_second_list_before_most_peers_go() {
    let mut guard = Guard::default();
    let mut want = wanted("flannel.1", 4);
    let held = GuardVerdict::Hold(Held::ForSecondList { losing: 6, of: 10 });
    assert_eq!(verdict(&mut guard, &want, 10), held);
    assert_eq!(
        verdict(&mut guard, &want, 10),
        held,
        "the same list again is no second one"
    );
    want.listings += 1;
    assert_eq!(verdict(&mut guard, &want, 10), GuardVerdict::Pass);
}

#[test]
fn peers_that_move_to_our_own_data_plane_are_not_lost() {
    let mut guard = Guard::default();
    let mut want = wanted("flannel.1", 0);
    want.peers = 10;
    let carried = |numbers| Some(Forwarding::towards(numbers).into());
    want.forwarding = carried(2..12);
    assert_eq!(verdict(&mut guard, &want, 10), GuardVerdict::Pass);
    want.forwarding = carried(2..4);
    assert!(matches!(
        verdict(&mut guard, &want, 10),
        GuardVerdict::Hold(_)
    ));
}

#[test]
fn peers_that_come_back_in_between_reset_the_guard() {
    let mut guard = Guard::default();
    let few = wanted("flannel.1", 4);
    assert!(matches!(
        verdict(&mut guard, &few, 10),
        GuardVerdict::Hold(_)
    ));
    assert_eq!(
        verdict(&mut guard, &wanted("flannel.1", 10), 10),
        GuardVerdict::Pass
    );
    let later = Desired { listings: 9, ..few };
    assert!(matches!(
        verdict(&mut guard, &later, 10),
        GuardVerdict::Hold(_)
    ));
}

#[test]
fn an_empty_store_waits_for_the_operator_whatever_the_lists_say() {
    let mut guard = Guard::default();
    let mut want = wanted("flannel.1", 0);
    for _ in 0..3 {
        want.listings += 1;
        let held = GuardVerdict::Hold(Held::ForOperator { losing: 10 });
        assert_eq!(verdict(&mut guard, &want, 10), held);
    }
    guard.confirm();
    assert_eq!(verdict(&mut guard, &want, 10), GuardVerdict::Pass);
}

#[test]
fn a_second_list_that_loses_others_is_a_first_one() {
    let mut guard = Guard::default();
    let mut want = wanted("flannel.1", 4);
    assert!(matches!(
        verdict(&mut guard, &want, 10),
        GuardVerdict::Hold(_)
    ));
    want = wanted("flannel.1", 2);
    want.listings += 1;
    assert!(matches!(
        verdict(&mut guard, &want, 10),
        GuardVerdict::Hold(_)
    ));
    want.listings += 1;
    assert_eq!(verdict(&mut guard, &want, 10), GuardVerdict::Pass);
}

#[test]
fn a_confirmation_is_for_what_is_held_now_and_not_for_a_loss_to_come() {
    let mut guard = Guard::default();
    guard.confirm();
    assert_eq!(
        verdict(&mut guard, &wanted("flannel.1", 10), 10),
        GuardVerdict::Pass
    );
    assert!(matches!(
        verdict(&mut guard, &wanted("flannel.1", 0), 10),
        GuardVerdict::Hold(_)
    ));
}

#[test]
fn losing_a_device_with_all_its_routes_counts_as_losing_the_peers() {
    let mut guard = Guard::default();
    let want = Desired {
        peers: 0,
        ..wanted("flannel.2", 0)
    };
    assert!(matches!(
        verdict(&mut guard, &want, 10),
        GuardVerdict::Hold(Held::ForOperator { losing: 10 })
    ));
}

#[test]
fn a_switch_of_the_bridge_filter_is_set_where_there_is_one_and_never_missed() {
    let key = format!("{BRIDGE_FILTER}bridge-nf-call-iptables");
    let mut want = wanted("flannel.1", 1);
    let mut have = want.state.clone();
    want.state.sysctls.insert(key.clone(), "1".to_owned());
    assert!(plan(&want, &have).is_empty(), "the module isn't loaded");
    have.sysctls.insert(key.clone(), "0".to_owned());
    let expected = [format!("set sysctl {key} = 1")];
    assert_eq!(words(&plan(&want, &have).puts), expected);
}

#[test]
fn a_device_is_told_to_take_no_router_advertisements_where_it_could_take_any() {
    let key = "net/ipv6/conf/flannel.1/accept_ra";
    let mut want = wanted("flannel.1", 1);
    let mut have = want.state.clone();
    want.state.sysctls.insert(key.into(), "0".to_owned());
    let told = |have: &KernelState| {
        let puts = words(&plan(&want, have).puts);
        puts.contains(&format!("set sysctl {key} = 0"))
    };
    assert!(!told(&have), "it has no IPv6, and is not asked again");
    have.sysctls.insert(key.into(), "1".to_owned());
    assert!(told(&have));
    assert!(told(&KernelState::default()), "with the device itself");
    have.links.get_mut("flannel.1").unwrap().kind = LinkKind::Other("dummy".to_owned());
    assert!(told(&have), "and with the one that replaces it");
}

#[test]
fn what_an_instance_left_behind_goes_before_our_table_comes() {
    let want = wanted("flannel.1", 1);
    let mut have = want.state.clone();
    have.others.left_behind.insert("tweed-0a1b2c3d".to_owned());
    let puts = words(&plan(&want, &have).puts);
    assert_eq!(puts.len(), 1);
    assert!(puts[0].contains("inet tweed-0a1b2c3d"), "{puts:?}");
}
