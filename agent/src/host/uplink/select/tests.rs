use super::*;
use crate::host::uplink::host::{InterfaceAddr, Reach};
use crate::host::uplink::{Known, Overlay};

mod addresses;
mod announced;
mod default_routes;
mod pods;

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &Family::BOTH;

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn permanent(text: &str) -> InterfaceAddr {
    InterfaceAddr {
        addr: addr(text),
        prefix: if addr(text).is_ipv4() { 24 } else { 64 },
        peer: false,
        permanent: true,
        temporary: false,
        deprecated: false,
        protocol: 0,
    }
}

fn interface(index: u32, name: &str, addrs: &[&str]) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        mtu: 1500,
        addrs: addrs.iter().map(|text| permanent(text)).collect(),
        loopback: name == "lo",
        ..Interface::default()
    }
}

fn default_route(family: Family, metric: u32, index: u32) -> DefaultRoute {
    DefaultRoute {
        learned: false,
        family,
        metric,
        interface: Some(index),
    }
}

/// A host with a loopback, a NAT interface that every machine of its kind has, and the network between the machines.
fn host() -> Facts {
    Facts {
        interfaces: vec![
            interface(1, "lo", &["127.0.0.1", "::1"]),
            interface(2, "eth0", &["10.0.2.15", "fe80::2", "2001:db8:2::15"]),
            interface(
                3,
                "eth1",
                &["192.168.56.11", "192.168.56.99", "fe80::3", "fd00:56::11"],
            ),
        ],
        defaults: vec![
            default_route(Family::V4, 0, 2),
            default_route(Family::V6, 1024, 2),
        ],
        onlink: vec![
            (2, "10.0.2.0/24".parse().expect("a prefix")),
            (3, "192.168.56.0/24".parse().expect("a prefix")),
            (3, "192.168.57.7/32".parse().expect("a prefix")),
            (3, "fd00:56::/64".parse().expect("a prefix")),
        ],
        reach: None,
    }
}

fn options() -> UplinkOptions {
    UplinkOptions::default()
}

fn named(ifaces: &[&str]) -> UplinkOptions {
    UplinkOptions {
        ifaces: ifaces.iter().map(|text| (*text).to_owned()).collect(),
        ..options()
    }
}

fn matching(patterns: &[&str]) -> UplinkOptions {
    let regexes = patterns
        .iter()
        .map(|text| Regex::new(text).expect("a pattern"));
    UplinkOptions {
        regexes: regexes.collect(),
        ..options()
    }
}

fn wanted(options: &UplinkOptions, families: &[Family]) -> Wanted {
    let networks = ["10.244.0.0/16", "fd00:10:244::/56"].map(|text| text.parse().expect("a net"));
    let networks = Dual::of_nets(networks);
    Wanted {
        options: options.clone(),
        overlay: Overlay {
            networks: networks.filter_map(|family, net| families.contains(&family).then_some(*net)),
            links: ["flannel.1".to_owned()].into(),
        },
        ..Wanted::default()
    }
}

fn select(options: &UplinkOptions, families: &[Family], facts: &Facts) -> Result<Choice, NoUplink> {
    super::select(&wanted(options, families), facts)
}

/// Interface and addresses, as text.
fn chosen(options: &UplinkOptions, families: &[Family], facts: &Facts) -> String {
    let choice = select(options, families, facts).expect("an uplink");
    let addrs: Vec<String> = choice
        .uplink
        .addrs
        .values()
        .map(IpAddr::to_string)
        .collect();
    format!("{} {}", choice.uplink.name, addrs.join(" "))
}

fn refused(options: &UplinkOptions, families: &[Family], facts: &Facts) -> String {
    select(options, families, facts)
        .expect_err("refused")
        .to_string()
}

#[test]
fn without_a_wish_it_is_the_interface_of_the_default_route() {
    let host = host();
    assert_eq!(chosen(&options(), V4, &host), "eth0 10.0.2.15");
    assert_eq!(chosen(&options(), V6, &host), "eth0 2001:db8:2::15");
    assert_eq!(
        chosen(&options(), BOTH, &host),
        "eth0 10.0.2.15 2001:db8:2::15"
    );
    let choice = select(&options(), V4, &host).expect("an uplink");
    assert_eq!(choice.reason, "it has the default route, metric 0");
    assert_eq!(choice.public.v4, Some(addr("10.0.2.15")));
    assert_eq!((choice.uplink.index, choice.uplink.mtu), (2, 1500));
}

#[test]
fn a_public_address_alone_selects_the_interface_that_has_it() {
    let public = |v4: Option<&str>, v6: Option<&str>| UplinkOptions {
        public: Dual {
            v4: v4.map(addr),
            v6: v6.map(addr),
        },
        ..options()
    };
    let host = host();
    assert_eq!(
        chosen(&public(Some("192.168.56.99"), None), V4, &host),
        "eth1 192.168.56.99"
    );
    assert_eq!(
        chosen(&public(None, Some("fd00:56::11")), BOTH, &host),
        "eth1 192.168.56.11 fd00:56::11"
    );
    assert_eq!(
        refused(&public(Some("203.0.113.5"), None), V4, &host),
        "no uplink: no interface has the public address 203.0.113.5; behind NAT, name the interface with --iface too"
    );
    // The public address of a family that isn't enabled selects nothing.
    assert_eq!(
        chosen(&public(None, Some("fd00:56::11")), V4, &host),
        "eth0 10.0.2.15"
    );
}

#[test]
fn behind_nat_the_named_interface_sends_and_the_public_address_is_announced() {
    let options = UplinkOptions {
        public: Dual::of_addrs([addr("203.0.113.5")]),
        ..named(&["eth1"])
    };
    let choice = select(&options, V4, &host()).expect("an uplink");
    assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.11")));
    assert_eq!(choice.public.v4, Some(addr("203.0.113.5")));
}

#[test]
fn an_interface_is_named_or_given_by_one_of_its_addresses() {
    let host = host();
    assert_eq!(chosen(&named(&["eth1"]), V4, &host), "eth1 192.168.56.11");
    assert_eq!(
        chosen(&named(&["192.168.56.99"]), V4, &host),
        "eth1 192.168.56.99"
    );
    assert_eq!(
        chosen(&named(&["fd00:56::11"]), V6, &host),
        "eth1 fd00:56::11"
    );
    assert_eq!(
        chosen(&named(&["192.168.56.99"]), BOTH, &host),
        "eth1 192.168.56.99 fd00:56::11"
    );
}

#[test]
fn an_ipv6_address_as_interface_works_in_dual_stack_without_a_public_one() {
    // flanneld dereferences a missing interface here.
    let host = host();
    assert_eq!(
        chosen(&named(&["fd00:56::11"]), BOTH, &host),
        "eth1 192.168.56.11 fd00:56::11"
    );
    assert_eq!(
        refused(&named(&["fd00:56::12"]), BOTH, &host),
        "no uplink: no interface has the address fd00:56::12 of --iface"
    );
}

#[test]
fn in_dual_stack_the_public_ipv6_address_must_be_on_the_interface_given_by_address() {
    let with_public = |iface: &str, v6: &str| UplinkOptions {
        public: Dual::of_addrs([addr(v6)]),
        ..named(&[iface])
    };
    let host = host();
    assert_eq!(
        chosen(&with_public("192.168.56.11", "fd00:56::11"), BOTH, &host),
        "eth1 192.168.56.11 fd00:56::11"
    );
    let text = refused(&with_public("192.168.56.11", "2001:db8:2::15"), BOTH, &host);
    assert!(
        text.contains("192.168.56.11 is on eth1, but the public address 2001:db8:2::15 is on eth0"),
        "{text}"
    );
    let text = refused(&with_public("192.168.56.11", "2001:db8::99"), BOTH, &host);
    assert!(text.contains("2001:db8::99 is on none"), "{text}");
}

#[test]
fn an_address_of_a_family_that_is_not_enabled_is_refused_with_the_reason() {
    let text = refused(&named(&["fd00:56::11"]), V4, &host());
    assert_eq!(
        text,
        "no uplink: fd00:56::11 is no use: IPv6 is not enabled"
    );
}

#[test]
fn a_pattern_is_matched_against_addresses_first_and_then_against_names() {
    let host = host();
    assert_eq!(
        chosen(&matching(&[r"192\.168\.56\."]), V4, &host),
        "eth1 192.168.56.11"
    );
    assert_eq!(
        chosen(&matching(&[r"\.99$"]), V4, &host),
        "eth1 192.168.56.99"
    );
    assert_eq!(
        chosen(&matching(&["^eth1$"]), V4, &host),
        "eth1 192.168.56.11"
    );
    // Not anchored, and the address of eth0 is met before the name of eth1.
    let mut odd = host;
    odd.interfaces[2].name = "net15".to_owned();
    assert_eq!(chosen(&matching(&["15"]), V4, &odd), "eth0 10.0.2.15");
}

#[test]
fn in_dual_stack_a_pattern_must_match_an_address_of_each_family_on_one_interface() {
    let host = host();
    assert_eq!(
        chosen(&matching(&[r"^(192\.168\.56\.|fd00:56:)"]), BOTH, &host),
        "eth1 192.168.56.11 fd00:56::11"
    );
    let text = refused(&matching(&[r"^192\.168\.56\."]), BOTH, &host);
    assert!(text.ends_with("matches no address and no name"), "{text}");
}

#[test]
fn a_pattern_that_meets_an_unusable_interface_goes_on_to_the_next() {
    assert_eq!(
        chosen(&matching(&["lo|eth1"]), V4, &host()),
        "eth1 192.168.56.11"
    );
    let text = refused(&matching(&["^lo$"]), V4, &host());
    assert!(
        text.contains("interface lo has no usable IPv4 address"),
        "{text}"
    );
}

#[test]
fn a_pattern_with_another_public_address_keeps_both() {
    let options = UplinkOptions {
        public: Dual::of_addrs([addr("172.16.30.254")]),
        ..matching(&[r"192\.168\.56\.11"])
    };
    let choice = select(&options, V4, &host()).expect("an uplink");
    assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.11")));
    assert_eq!(choice.public.v4, Some(addr("172.16.30.254")));
}

#[test]
fn can_reach_takes_the_interface_and_source_of_the_route() {
    let options = UplinkOptions {
        can_reach: Some(addr("192.168.56.1")),
        ..options()
    };
    let mut host = host();
    host.reach = Some(Ok(Reach {
        interface: 3,
        source: Some(addr("192.168.56.99")),
    }));
    assert_eq!(chosen(&options, V4, &host), "eth1 192.168.56.99");
    assert_eq!(
        chosen(&options, BOTH, &host),
        "eth1 192.168.56.99 fd00:56::11"
    );
    host.reach = Some(Err("the kernel has none".to_owned()));
    let text = refused(&options, V4, &host);
    assert_eq!(
        text,
        "no uplink: no route to 192.168.56.1: the kernel has none"
    );
}

#[test]
fn wishes_are_tried_in_order_and_those_that_failed_are_told() {
    let mut host = host();
    host.reach = Some(Ok(Reach {
        interface: 2,
        source: None,
    }));
    let options = UplinkOptions {
        can_reach: Some(addr("10.0.2.2")),
        ..matching(&["wlan"])
    };
    let options = UplinkOptions {
        ifaces: vec!["bond0".to_owned(), "10.9.9.9".to_owned()],
        ..options
    };
    let choice = select(&options, V4, &host).expect("an uplink");
    assert_eq!(choice.uplink.name, "eth0");
    assert_eq!(choice.reason, "10.0.2.2 is reached over it");
    assert_eq!(
        choice.passed_over,
        [
            "there is no interface bond0",
            "no interface has the address 10.9.9.9 of --iface",
            "--iface-regex wlan matches no address and no name",
        ]
    );
    let none = UplinkOptions {
        can_reach: None,
        ..options
    };
    let text = refused(&none, V4, &host);
    assert!(
        text.contains("bond0; no interface has") && text.contains("wlan"),
        "{text}"
    );
}
