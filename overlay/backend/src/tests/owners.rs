//! Two leases that announce the same.

use super::*;

#[test]
fn a_mac_stays_with_the_peer_that_announced_it_first_until_that_one_is_gone() {
    const MACS: [&str; 2] = ["aa:bb:cc:00:00:02", "aa:bb:cc:00:00:03"];
    let victim = peer(3, "192.168.0.3", MACS[1], 9);
    let mut seniority = Seniority::default();
    let mut program =
        |leases: Vec<Lease>| program_after(&mut seniority, r#"{"Type":"vxlan"}"#, leases);
    program(vec![peer(2, "192.168.0.2", MACS[0], 1), victim.clone()]);
    // The older lease takes on the other's MAC, in one family or in both.
    let mut half = peer(2, "192.168.0.2", MACS[0], 1);
    half.attrs.data.v6.clone_from(&victim.attrs.data.v6);
    for thief in [half, peer(2, "192.168.0.2", MACS[1], 1)] {
        let (state, admission) = program(vec![thief.clone(), victim.clone()]);
        assert_eq!(admission.peers.len(), 1);
        let reason = admission.refused[&thief.key].to_string();
        assert!(
            reason.contains("10.244.3.0-24") && reason.contains("first"),
            "{reason}"
        );
        let mac = MACS[1].parse().unwrap();
        assert_eq!(state.fdb[&("flannel.1".into(), mac)], ip("192.168.0.3"));
        assert_eq!(state.routes.len(), 2);
    }
    // The victim moves to another address: it has announced the MAC all the while.
    let mut moved = victim;
    moved.attrs.public.v4 = Some(ip("192.168.0.4"));
    let thief = peer(2, "192.168.0.2", MACS[1], 1);
    let (_, admission) = program(vec![thief.clone(), moved]);
    assert!(admission.refused.contains_key(&thief.key));
    let (_, admission) = program(vec![thief]);
    assert!(admission.refused.is_empty(), "nobody else has it now");
}

#[test]
fn one_public_address_of_two_leases_costs_neither_its_packets() {
    let first = peer(2, "192.168.0.2", "aa:bb:cc:00:00:02", 1);
    let mut second = peer(3, "192.168.0.2", "aa:bb:cc:00:00:03", 2);
    second.attrs.public = first.attrs.public;
    let (state, admission) = program(r#"{"Type":"vxlan"}"#, vec![first, second]);
    assert_eq!((admission.peers.len(), state.fdb.len()), (2, 4));
}
