//! What belongs to the pod network is never the uplink, whatever leads over it.

use super::*;

/// The host with a device of its own, a bridge, a pod on the bridge and one by itself. A DHCP client took them all.
fn invaded() -> Facts {
    let mut facts = host();
    let leased = |index, name: &str, kind: &str, own: &[&str]| {
        let mut interface = interface(index, name, own);
        interface.kind = kind.to_owned();
        interface.addrs.push(InterfaceAddr {
            permanent: false,
            ..permanent(&format!("192.168.{index}.77"))
        });
        interface
    };
    let bridged = Interface {
        master: Some(11),
        ..leased(12, "veth1", "veth", &[])
    };
    let vlan = Interface {
        parent: Some(10),
        ..leased(14, "flannel.1.5", "vlan", &[])
    };
    facts.interfaces.extend([
        leased(10, "flannel.1", "vxlan", &["10.244.1.0"]),
        leased(11, "br7", "bridge", &["10.244.1.1"]),
        bridged,
        leased(13, "veth2", "veth", &[]),
        vlan,
        Interface {
            alias: "tweed network another".to_owned(),
            ..leased(15, "flannel.9", "vxlan", &[])
        },
        leased(16, "cni0", "bridge", &[]),
    ]);
    facts
        .onlink
        .push((13, "10.244.1.9/32".parse().expect("a prefix")));
    facts
}

const OWN: std::ops::RangeInclusive<u32> = 10..=16;

#[test]
fn a_better_default_route_over_a_device_of_the_pod_network_is_passed_over() {
    for index in OWN {
        let mut facts = invaded();
        facts.defaults[0].metric = 100;
        facts.defaults.push(default_route(Family::V4, 5, index));
        let choice = select(&options(), V4, &facts).expect("an uplink");
        assert_eq!(choice.uplink.name, "eth0", "{index}");
        let [told] = &choice.passed_over[..] else {
            panic!("{:?}", choice.passed_over);
        };
        let name = facts.by_index(index).expect("there").name.clone();
        let start = format!("of the IPv4 default routes the one over {name} (");
        assert!(told.starts_with(&start), "{told}");
        facts.defaults.remove(0);
        let text = refused(&options(), V4, &facts);
        assert!(
            text.contains("no IPv4 default route but for") && text.contains(&name),
            "{text}"
        );
    }
}

#[test]
fn a_device_of_the_pod_network_that_is_named_is_refused_with_the_reason() {
    let mut facts = invaded();
    for index in OWN {
        let name = facts.by_index(index).expect("there").name.clone();
        let text = refused(&named(&[&name]), V4, &facts);
        let start = format!("no uplink: interface {name} can't be the uplink: it ");
        assert!(text.starts_with(&start), "{text}");
        let addr = format!("192.168.{index}.77");
        let text = refused(&named(&[&addr]), V4, &facts);
        assert!(text.starts_with(&start), "{text}");
        facts.reach = Some(Ok(Reach {
            interface: index,
            source: None,
        }));
        let reach = UplinkOptions {
            can_reach: Some(super::addr("192.0.2.1")),
            ..options()
        };
        let text = refused(&reach, V4, &facts);
        assert!(text.starts_with(&start), "{text}");
    }
    let text = refused(&named(&["10.244.1.1"]), V4, &facts);
    assert!(text.contains("lies inside the pod network 10.244.0.0/16"));
}

#[test]
fn a_pattern_goes_on_to_the_next_interface() {
    let facts = invaded();
    assert_eq!(
        chosen(&matching(&["^(flannel|veth|br|eth1)"]), V4, &facts),
        "eth1 192.168.56.11"
    );
    let text = refused(&matching(&[r"^192\.168\.1[0-6]\.77$"]), V4, &facts);
    assert!(text.contains("matches no address and no name"), "{text}");
    let text = refused(&matching(&["^veth1$"]), V4, &facts);
    assert!(
        text.contains("veth1 can't be the uplink: it is a port of br7"),
        "{text}"
    );
}

#[test]
fn an_address_inside_the_pod_network_is_no_nodes() {
    let mut facts = host();
    // By a router's advertisement, say, of a stranger: the uplink stays the uplink.
    facts.interfaces[1].kind = "bridge".to_owned();
    facts.interfaces[1].addrs.insert(
        0,
        InterfaceAddr {
            permanent: false,
            ..permanent("10.244.9.9")
        },
    );
    assert_eq!(chosen(&options(), V4, &facts), "eth0 10.0.2.15");
    facts.interfaces[1].addrs.truncate(1);
    assert_eq!(
        refused(&options(), V4, &facts),
        "no uplink: interface eth0: the address 10.244.9.9 lies inside the pod network 10.244.0.0/16, which no node's may"
    );
    let public = UplinkOptions {
        public: Dual::of_addrs([addr("10.244.9.9")]),
        ..named(&["eth1"])
    };
    let choice = select(&public, V4, &facts).expect("an uplink");
    assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.11")));
}

#[test]
fn a_bridge_and_a_veth_of_another_network_are_interfaces_like_any_other() {
    let mut facts = host();
    for kind in ["bridge", "veth", "vxlan"] {
        facts.interfaces[1].kind = kind.to_owned();
        assert_eq!(chosen(&options(), V4, &facts), "eth0 10.0.2.15");
    }
}

#[test]
fn the_loopback_is_taken_as_asked_and_doubted() {
    let mut facts = host();
    facts.interfaces[0].addrs.push(permanent("10.255.0.1"));
    let choice = select(&named(&["lo"]), V4, &facts).expect("as asked");
    assert_eq!(choice.uplink.name, "lo");
    assert!(choice.doubts[0].starts_with("lo is the loopback, which reaches no other node"));
    let choice = select(&options(), V4, &facts).expect("an uplink");
    assert!(choice.doubts.is_empty());
}

#[test]
fn an_interface_goes_by_each_of_its_names() {
    let mut facts = host();
    facts.interfaces[2].altnames = vec!["enp0s9".to_owned(), "enx525400000001".to_owned()];
    for options in [named(&["enp0s9"]), matching(&["^enx"])] {
        assert_eq!(chosen(&options, V4, &facts), "eth1 192.168.56.11");
    }
}
