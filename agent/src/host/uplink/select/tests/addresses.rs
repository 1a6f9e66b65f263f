//! Which address of an interface, what is on its link, and any host at all.

use proptest::prelude::*;

use super::*;

#[test]
fn the_best_address_is_global_then_permanent_then_stable() {
    let own = |text: &str, permanent, temporary| InterfaceAddr {
        permanent,
        temporary,
        ..super::permanent(text)
    };
    let mut host = host();
    let addrs = &mut host.interfaces[2].addrs;
    *addrs = vec![
        own("fe80::3", true, false),
        own("2001:db8::dead", false, true),
        own("2001:db8::1", false, false),
    ];
    let best = |host: &Facts| chosen(&named(&["eth1"]), V6, host);
    assert_eq!(best(&host), "eth1 2001:db8::1");
    host.interfaces[2]
        .addrs
        .push(own("2001:db8::2", true, false));
    assert_eq!(best(&host), "eth1 2001:db8::2");
    host.interfaces[2].addrs[3].deprecated = true;
    assert_eq!(best(&host), "eth1 2001:db8::1");
    host.interfaces[2].addrs.truncate(1);
    assert_eq!(best(&host), "eth1 fe80::3");
}

#[test]
fn an_interface_without_address_or_mtu_is_refused_by_name() {
    let mut host = host();
    host.interfaces[2].mtu = 0;
    assert_eq!(
        refused(&named(&["eth1"]), V4, &host),
        "no uplink: interface eth1 has MTU 0"
    );
    host.interfaces[1].addrs.retain(|own| own.addr.is_ipv4());
    let text = refused(&options(), BOTH, &host);
    assert_eq!(text, "no uplink: interface eth0 has no usable IPv6 address");
}

#[test]
fn the_prefixes_on_the_link_are_those_of_its_routes_without_gateway() {
    let mut host = host();
    host.onlink
        .push((3, "0.0.0.0/0".parse().expect("a prefix")));
    host.onlink
        .push((3, "192.168.56.0/24".parse().expect("a prefix")));
    let uplink = select(&named(&["eth1"]), V4, &host)
        .expect("an uplink")
        .uplink;
    let onlink: Vec<String> = uplink.onlink.iter().map(IpNet::to_string).collect();
    assert_eq!(onlink, ["192.168.56.0/24", "192.168.57.7/32"]);
    assert!(uplink.reaches_directly(&addr("192.168.56.12")));
    assert!(!uplink.reaches_directly(&addr("192.168.58.1")));
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let own = (any::<IpAddr>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(addr, permanent, temporary, deprecated)| InterfaceAddr {
            addr,
            permanent,
            temporary,
            deprecated,
            ..super::permanent("10.0.0.1")
        },
    );
    let interface = (
        1..6_u32,
        "[a-c]{1,2}",
        0..2_u32,
        prop::collection::vec(own, 0..4),
    )
        .prop_map(|(index, name, mtu, addrs)| Interface {
            index,
            name,
            mtu: mtu * 1500,
            addrs,
            ..Interface::default()
        });
    let route = (any::<bool>(), 0..3_u32, prop::option::of(1..6_u32)).prop_map(
        |(v4, metric, interface)| DefaultRoute {
            learned: false,
            family: if v4 { Family::V4 } else { Family::V6 },
            metric,
            interface,
        },
    );
    let lists = (
        prop::collection::vec(interface, 0..5),
        prop::collection::vec(route, 0..4),
    );
    lists.prop_map(|(interfaces, defaults)| Facts {
        interfaces,
        defaults,
        ..Facts::default()
    })
}

proptest! {
    #[test]
    fn a_choice_has_an_address_of_each_enabled_family_and_a_reason(
        facts in any_facts(),
        wishes in prop::collection::vec("[a-c]{1,2}|10\\.[0-9]\\.0\\.1|::[0-9]", 0..3),
        patterns in prop::collection::vec("[a-c.:]{1,2}", 0..2),
        which in 0..3_usize,
    ) {
        let families = [V4, V6, BOTH][which];
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let options = UplinkOptions { ifaces: wishes, ..matching(&patterns) };
        match select(&options, families, &facts) {
            Ok(choice) => {
                let has: Vec<Family> = choice.uplink.addrs.iter().map(|(family, _)| family).collect();
                prop_assert_eq!(has, families);
                prop_assert!(choice.uplink.mtu > 0);
                prop_assert!(facts.interfaces.iter().any(|i| i.name == choice.uplink.name));
            }
            Err(none) => prop_assert!(!none.tried.is_empty()),
        }
    }
}
