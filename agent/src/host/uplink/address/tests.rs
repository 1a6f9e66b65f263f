use super::*;

fn own(text: &str) -> InterfaceAddr {
    let (addr, prefix) = text.split_once('/').expect("with a length");
    InterfaceAddr {
        addr: addr.parse().expect("an address"),
        prefix: prefix.parse().expect("a length"),
        peer: false,
        permanent: true,
        temporary: false,
        deprecated: false,
        protocol: 0,
    }
}

fn leased(text: &str) -> InterfaceAddr {
    InterfaceAddr {
        permanent: false,
        ..own(text)
    }
}

fn best_of(addrs: &[InterfaceAddr], known: &Known) -> String {
    let interface = Interface {
        addrs: addrs.to_vec(),
        ..Interface::default()
    };
    let family = Family::of(&addrs[0].addr);
    let ranked = ranked(&interface, family, &Overlay::default(), known);
    ranked.first().expect("one").to_string()
}

fn best(addrs: &[InterfaceAddr]) -> String {
    best_of(addrs, &Known::default())
}

fn before(text: &str) -> Known {
    Known {
        before: Dual::of_addrs([text.parse().expect("an address")]),
        others: BTreeSet::new(),
    }
}

#[test]
fn a_virtual_address_comes_after_the_one_by_dhcp_wherever_it_stands() {
    let dhcp = leased("192.0.2.5/24");
    let secondary = InterfaceAddr {
        temporary: true,
        ..own("192.0.2.100/24")
    };
    let marked = InterfaceAddr {
        protocol: KEEPALIVED,
        ..own("192.0.2.100/24")
    };
    for vip in [own("192.0.2.100/32"), secondary, marked] {
        assert_eq!(best(&[vip, dhcp]), "192.0.2.5");
        assert_eq!(best(&[dhcp, vip]), "192.0.2.5");
        assert_eq!(best(&[vip]), "192.0.2.100", "there is nothing better");
    }
}

#[test]
fn a_host_with_addresses_of_length_32_alone_takes_the_first_and_a_far_end_makes_it_ordinary() {
    let cloud = leased("10.128.0.5/32");
    assert_eq!(best(&[cloud, own("10.128.0.100/32")]), "10.128.0.5");
    let far = InterfaceAddr {
        peer: true,
        ..own("198.51.100.1/32")
    };
    assert_eq!(best(&[far, own("192.0.2.5/24")]), "198.51.100.1");
}

#[test]
fn an_address_by_dhcpv6_is_no_virtual_one() {
    let dhcp = leased("2001:db8::5/128");
    assert_eq!(best(&[dhcp, leased("2001:db8::aaaa/64")]), "2001:db8::5");
    let vip = own("2001:db8::100/128");
    assert_eq!(best(&[vip, leased("2001:db8::aaaa/64")]), "2001:db8::aaaa");
    let moved = InterfaceAddr {
        deprecated: true,
        ..vip
    };
    assert_eq!(best(&[moved, own("fe80::1/64")]), "fe80::1");
}

#[test]
fn what_the_node_was_known_by_stays_unless_it_is_on_its_way_out() {
    let (first, second) = (own("192.0.2.5/24"), own("192.0.2.6/32"));
    assert_eq!(best_of(&[first, second], &before("192.0.2.6")), "192.0.2.6");
    assert_eq!(best_of(&[first, second], &before("192.0.2.7")), "192.0.2.5");
    let stable = own("2001:db8::1/64");
    for passing in [
        InterfaceAddr {
            temporary: true,
            ..leased("2001:db8::2/64")
        },
        InterfaceAddr {
            deprecated: true,
            ..own("2001:db8::2/64")
        },
        InterfaceAddr {
            protocol: KEEPALIVED,
            ..own("2001:db8::2/128")
        },
    ] {
        assert_eq!(
            best_of(&[passing, stable], &before("2001:db8::2")),
            "2001:db8::1"
        );
    }
    let local = own("fe80::1/64");
    assert_eq!(best_of(&[local, stable], &before("fe80::1")), "2001:db8::1");
}

#[test]
fn what_another_node_announces_comes_last_but_for_nothing_at_all() {
    let (first, second) = (own("192.0.2.5/24"), own("198.51.100.6/24"));
    let others = Known {
        others: [first.addr].into(),
        ..Known::default()
    };
    assert_eq!(best_of(&[first, second], &others), "198.51.100.6");
    assert_eq!(best_of(&[first], &others), "192.0.2.5");
    let both = Known {
        others: [first.addr].into(),
        ..before("192.0.2.5")
    };
    assert_eq!(best_of(&[first, second], &both), "192.0.2.5", "it was ours");
}
