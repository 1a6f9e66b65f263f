//! What is announced and what packets leave with are one address wherever the host has it.

use super::*;

/// The host with an address of its own on the loopback, as routers have one.
fn with_loopback() -> Facts {
    let mut facts = host();
    facts.interfaces[0].addrs.push(permanent("10.255.0.1"));
    facts.interfaces[0].addrs.push(permanent("2001:db8:ff::1"));
    facts
}

fn announcing(addrs: &[&str], options: UplinkOptions) -> UplinkOptions {
    UplinkOptions {
        public: Dual::of_addrs(addrs.iter().map(|text| addr(text))),
        ..options
    }
}

#[test]
fn packets_leave_with_the_announced_address_on_whichever_interface_it_is() {
    let facts = with_loopback();
    for public in ["192.168.56.99", "10.0.2.15", "10.255.0.1"] {
        let options = announcing(&[public], named(&["eth1"]));
        let choice = select(&options, V4, &facts).expect("an uplink");
        assert_eq!(choice.uplink.name, "eth1");
        assert_eq!(choice.uplink.addrs.v4, Some(addr(public)));
        assert_eq!(choice.public.v4, Some(addr(public)));
    }
    let options = announcing(&["10.255.0.1", "2001:db8:ff::1"], named(&["eth1"]));
    assert_eq!(
        chosen(&options, BOTH, &facts),
        "eth1 10.255.0.1 2001:db8:ff::1"
    );
}

#[test]
fn an_address_of_the_loopback_is_announced_over_the_default_route() {
    let facts = with_loopback();
    let options = announcing(&["10.255.0.1"], options());
    let choice = select(&options, V4, &facts).expect("an uplink");
    assert_eq!(
        (choice.uplink.name.as_str(), choice.uplink.index),
        ("eth0", 2)
    );
    assert_eq!(choice.uplink.addrs.v4, Some(addr("10.255.0.1")));
}

#[test]
fn what_the_store_announces_instead_counts_first_and_what_the_host_lacks_is_behind_a_nat() {
    let facts = with_loopback();
    let mut wanted = wanted(&announcing(&["10.255.0.1"], named(&["eth1"])), V4);
    wanted.overwrites = Dual::of_addrs([addr("10.0.2.15")]);
    let choice = super::super::select(&wanted, &facts).expect("an uplink");
    assert_eq!(choice.uplink.addrs.v4, Some(addr("10.0.2.15")));
    assert_eq!(
        choice.public.v4,
        Some(addr("10.255.0.1")),
        "the store knows"
    );
    wanted.overwrites = Dual::of_addrs([addr("203.0.113.9")]);
    let choice = super::super::select(&wanted, &facts).expect("an uplink");
    assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.11")));
}

#[test]
fn a_node_stays_known_by_the_address_that_nobody_named() {
    let facts = host();
    let choose = |options: &UplinkOptions, before: &[&str]| {
        let mut wanted = wanted(options, V4);
        wanted.known = Known {
            before: Dual::of_addrs(before.iter().map(|text| addr(text))),
            ..Known::default()
        };
        super::super::select(&wanted, &facts).expect("an uplink")
    };
    let choice = choose(&named(&["eth1"]), &["192.168.56.99"]);
    assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.99")));
    assert_eq!(choice.settled.v4, Some(addr("192.168.56.99")));
    let choice = choose(&named(&["eth1"]), &["192.168.56.98"]);
    assert_eq!(choice.settled.v4, Some(addr("192.168.56.11")), "it is gone");
    // What somebody names is so as long as it is named.
    for options in [
        named(&["192.168.56.99"]),
        matching(&[r"\.99$"]),
        announcing(&["192.168.56.99"], named(&["eth1"])),
    ] {
        let choice = choose(&options, &["192.168.56.11"]);
        assert_eq!(choice.uplink.addrs.v4, Some(addr("192.168.56.99")));
        assert_eq!(choice.settled.v4, Some(addr("192.168.56.11")));
    }
}
