use std::collections::BTreeMap;

use tweed_model::{Mac, Vlan};

use super::*;

fn bridge() -> PodBridge {
    PodBridge {
        mac: Some(Mac([2; 6])),
        mtu: Some(1450),
        up: true,
        ..PodBridge::default()
    }
}

fn port() -> PodPort {
    PodPort {
        bridge: Some("cni0".to_owned()),
        up: true,
        hairpin: true,
        ..PodPort::default()
    }
}

/// A bridge with a gateway and a port, masquerading and host ports.
fn attached() -> Attached {
    Attached {
        bridges: BTreeMap::from([("cni0".to_owned(), bridge())]),
        ports: BTreeMap::from([("veth1".to_owned(), port())]),
        addrs: [("cni0".to_owned(), "10.244.1.1/24".parse().unwrap())].into(),
        rules: true,
        masquerade: BTreeMap::from([("n/c/e".to_owned(), vec!["10.244.1.2/24".parse().unwrap()])]),
        sources: BTreeMap::from([("n/c/e".to_owned(), ("veth1".to_owned(), Mac([2; 6])))]),
        host_ports: BTreeMap::from([("n/c/e".to_owned(), "tcp 0.0.0.0:80".to_owned())]),
        forwarded: BTreeMap::from([("n/c/e".to_owned(), "10.244.1.2".to_owned())]),
        owners: BTreeMap::from([("veth1".to_owned(), "n/c/e".to_owned())]),
        ..Attached::default()
    }
}

fn words(want: &Attached, have: &Attached) -> Vec<String> {
    let repairs = repairs(want, have);
    repairs.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_there_needs_no_repair_and_each_damage_needs_its_own() {
    let want = attached();
    assert!(repairs(&want, &want).is_empty());
    type Damage = fn(&mut Attached);
    let damages: [(Damage, &str); 11] = [
        (
            |have| have.bridges.clear(),
            "add link cni0 type bridge mtu 1450 address 02:02:02:02:02:02 up",
        ),
        (
            |have| have.bridges.get_mut("cni0").unwrap().up = false,
            "set link cni0 mtu 1450 address 02:02:02:02:02:02 up",
        ),
        (
            |have| have.bridges.get_mut("cni0").unwrap().mtu = Some(1280),
            "set link cni0 mtu 1450 address 02:02:02:02:02:02 up",
        ),
        (
            |have| have.ports.get_mut("veth1").unwrap().bridge = None,
            "set link veth1 master cni0 up hairpin on isolated off, of n/c/e",
        ),
        (
            |have| have.ports.get_mut("veth1").unwrap().hairpin = false,
            "set link veth1 master cni0 up hairpin on isolated off, of n/c/e",
        ),
        (|have| have.addrs.clear(), "add addr 10.244.1.1/24 dev cni0"),
        (
            |have| have.rules = false,
            "put the rules of nftables table inet tweed-cni",
        ),
        (
            |have| have.masquerade.clear(),
            "masquerade 10.244.1.2/24 of n/c/e",
        ),
        (
            |have| have.sources.clear(),
            "drop frames by veth1 that are not from 02:02:02:02:02:02 of n/c/e",
        ),
        (
            |have| have.host_ports.clear(),
            "put host ports tcp 0.0.0.0:80 of n/c/e",
        ),
        (|have| have.forwarded.clear(), "forward 10.244.1.2 of n/c/e"),
    ];
    for (damage, expected) in damages {
        let mut have = want.clone();
        damage(&mut have);
        assert_eq!(words(&want, &have), [expected]);
    }
}

#[test]
fn of_an_attachment_whose_container_is_gone_all_goes_and_nothing_is_put_back() {
    let mut have = attached();
    have.masquerade.clear();
    have.sources.clear();
    have.host_ports.clear();
    have.forwarded.clear();
    have.gone.insert("n/c/e".to_owned());
    let expected = "delete rules and records of n/c/e, whose container is gone";
    assert_eq!(words(&attached(), &have), [expected]);
}

#[test]
fn links_that_a_del_has_set_aside_are_removed_together() {
    let mut have = attached();
    let links = (1..=5).map(|number| format!("gone0000000{number}"));
    have.discarded.extend(links);
    let expected =
        "delete links gone00000001, gone00000002, gone00000003 and 2 more, which DEL has set aside";
    assert_eq!(words(&attached(), &have), [expected]);
}

#[test]
fn a_bridge_without_a_port_of_an_attachment_is_neither_made_nor_changed() {
    let mut have = attached();
    have.ports.clear();
    have.bridges.clear();
    have.addrs.clear();
    assert!(repairs(&attached(), &have).is_empty());
    let want = attached();
    let missing: Vec<_> = missing_ports(&want, &have).collect();
    assert_eq!(missing, [(&"veth1".to_owned(), &"n/c/e".to_owned())]);
}

#[test]
fn a_switch_of_another_interface_than_the_bridge_is_left_alone() {
    let mut want = attached();
    let key = |name: &str| format!("net/ipv4/conf/{name}/route_localnet");
    for name in ["cni0", "all"] {
        want.sysctls.insert(key(name), "1".to_owned());
    }
    assert_eq!(
        words(&want, &attached()),
        ["set sysctl net/ipv4/conf/cni0/route_localnet = 1"]
    );
    for bridge in ["conf", "ipv4"] {
        let mut want = attached();
        want.ports.get_mut("veth1").unwrap().bridge = Some(bridge.to_owned());
        want.sysctls.insert(key("all"), "1".to_owned());
        let made = words(&want, &attached());
        assert!(
            !made.iter().any(|words| words.contains("sysctl")),
            "{made:?}"
        );
    }
}

/// A container that routes lead to, with a host port of 127.0.0.1.
fn routed() -> Attached {
    let addr = "10.244.1.2".parse().unwrap();
    Attached {
        ports: BTreeMap::from([(
            "veth1".to_owned(),
            PodPort {
                up: true,
                ..PodPort::default()
            },
        )]),
        routes: [("10.244.1.2/32".parse().unwrap(), "veth1".to_owned())].into(),
        neighs: BTreeMap::from([(("veth1".to_owned(), addr), Mac([2; 6]))]),
        sysctls: BTreeMap::from([(
            "net/ipv4/conf/veth1/route_localnet".to_owned(),
            "1".to_owned(),
        )]),
        owners: BTreeMap::from([("veth1".to_owned(), "n/c/e".to_owned())]),
        ..Attached::default()
    }
}

#[test]
fn what_leads_to_a_routed_container_is_put_back_and_not_without_its_end() {
    let want = routed();
    assert!(repairs(&want, &want).is_empty());
    let route = "add route 10.244.1.2/32 dev veth1";
    let neigh = "put neigh 10.244.1.2 lladdr 02:02:02:02:02:02 dev veth1";
    let sysctl = "set sysctl net/ipv4/conf/veth1/route_localnet = 1";
    type Damage = fn(&mut Attached);
    let damages: [(Damage, &[&str]); 5] = [
        (|have| have.routes.clear(), &[route]),
        (
            |have| have.neighs.values_mut().for_each(|mac| mac.0 = [4; 6]),
            &[neigh],
        ),
        (
            |have| {
                have.ports.get_mut("veth1").unwrap().up = false;
                have.routes.clear();
                have.neighs.clear();
            },
            &["set link veth1 up, of n/c/e", route, neigh],
        ),
        (
            |have| have.ports.get_mut("veth1").unwrap().bridge = Some("cni0".to_owned()),
            &["set link veth1 up, of n/c/e"],
        ),
        (|have| have.sysctls.clear(), &[sysctl]),
    ];
    for (damage, expected) in damages {
        let mut have = want.clone();
        damage(&mut have);
        assert_eq!(words(&want, &have), expected);
    }
    assert!(repairs(&want, &Attached::default()).is_empty());
}

#[test]
fn what_is_not_wanted_of_a_bridge_is_left_as_it_is() {
    let mut want = attached();
    want.bridges.insert("cni0".to_owned(), PodBridge::default());
    assert!(repairs(&want, &attached()).is_empty());
}

#[test]
fn the_pair_of_a_vlans_gateway_is_made_before_its_address() {
    let mut want = attached();
    let holder = "cni0.100".to_owned();
    let pair = Pair {
        port: "vlan1".to_owned(),
        mac: None,
        up: true,
    };
    want.pairs.insert(holder.clone(), pair);
    want.ports.insert("vlan1".to_owned(), port());
    want.addrs = [(holder.clone(), "10.244.1.1/24".parse().unwrap())].into();
    assert!(repairs(&want, &want).is_empty());
    let mut have = want.clone();
    have.addrs.clear();
    let addr = "add addr 10.244.1.1/24 dev cni0.100";
    assert_eq!(words(&want, &have), [addr]);
    have.pairs.clear();
    have.ports.remove("vlan1");
    let made = "put pair cni0.100 and vlan1 master cni0 up hairpin on isolated off";
    assert_eq!(words(&want, &have), [made, addr]);
    let mut have = want.clone();
    have.pairs.get_mut(&holder).unwrap().up = false;
    assert_eq!(words(&want, &have), [made]);
    have.ports.clear();
    assert!(repairs(&want, &have).is_empty(), "no port is left");
}

#[test]
fn a_port_is_in_its_vlans_and_not_in_the_default_one() {
    let vlan = |vid| Vlan { vid, native: true };
    let mut want = attached();
    want.ports.get_mut("veth1").unwrap().vlans = [vlan(100)].into();
    let mut have = want.clone();
    assert!(repairs(&want, &have).is_empty());
    let there = have.ports.get_mut("veth1").unwrap();
    there.default_vlan = Some(1);
    assert_eq!(repairs(&want, &have).len(), 1, "still in the default one");
    want.ports.get_mut("veth1").unwrap().keeps_default_vlan = true;
    assert!(repairs(&want, &have).is_empty());
    have.ports.get_mut("veth1").unwrap().vlans = [vlan(7)].into();
    assert_eq!(repairs(&want, &have).len(), 1, "not in its own");
}
