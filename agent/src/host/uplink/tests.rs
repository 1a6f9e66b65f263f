//! Against a real kernel, in a namespace of the test's own.

use tweed_model::Family;
use tweed_netlink::lab::ip;
use tweed_netlink::netns::isolated;

use super::*;
use crate::config::options::UplinkOptions;

const V4: Dual<()> = Dual {
    v4: Some(()),
    v6: None,
};
const V6: Dual<()> = Dual {
    v4: None,
    v6: Some(()),
};
const BOTH: Dual<()> = Dual {
    v4: Some(()),
    v6: Some(()),
};

/// Two uplinks as veth pairs: `wan` with the default route, `lan` towards the other hosts.
fn two_uplinks() {
    ip("link add wan mtu 1400 type veth peer name wan-far
        link add lan type veth peer name lan-far
        link set wan up
        link set wan-far up
        link set lan up
        link set lan-far up
        addr add 10.0.2.15/24 dev wan
        addr add 192.168.56.11/24 dev lan
        addr add 192.168.56.99/24 dev lan
        addr add fd00:56::11/64 dev lan nodad
        route add 192.168.57.0/24 dev lan
        route add 192.168.58.0/24 via 192.168.56.1 dev lan
        route add default via 10.0.2.2 dev wan metric 100
        route add default via 192.168.56.1 dev lan metric 200
        -6 route add default via fd00:56::1 dev lan");
}

/// Chooses for the families that have a value.
fn choose(options: &UplinkOptions, enabled: &Dual<()>) -> anyhow::Result<Choice> {
    let network = |family, (): &_| match family {
        Family::V4 => "10.244.0.0/16".parse().expect("a network"),
        Family::V6 => "fd00:10:244::/56".parse().expect("a network"),
    };
    super::choose(&Wanted {
        options: options.clone(),
        overlay: Overlay {
            networks: enabled.map(network),
            ..Overlay::default()
        },
        ..Wanted::default()
    })
}

fn choose_here(options: &UplinkOptions, enabled: Dual<()>) -> Choice {
    choose(options, &enabled).expect("an uplink")
}

#[test]
fn the_default_route_of_a_real_kernel_decides() {
    isolated(|| {
        two_uplinks();
        let choice = choose_here(&UplinkOptions::default(), V4);
        assert_eq!(choice.uplink.name, "wan");
        assert_eq!(choice.uplink.mtu, 1400);
        assert_eq!(
            choice.uplink.addrs,
            Dual::of_addrs(["10.0.2.15".parse().expect("an address")])
        );
        assert_eq!(choice.reason, "it has the default route, metric 100");

        let error = choose(&UplinkOptions::default(), &BOTH).expect_err("two interfaces");
        assert!(error.to_string().contains("the IPv6 one on lan"), "{error}");

        ip("route del default metric 100");
        let choice = choose_here(&UplinkOptions::default(), BOTH);
        assert_eq!(choice.uplink.name, "lan");
        assert_eq!(choice.uplink.addrs.v6, "fd00:56::11".parse().ok());
    });
}

#[test]
fn can_reach_asks_the_kernel_for_the_route() {
    isolated(|| {
        two_uplinks();
        let reach = |target: &str| UplinkOptions {
            can_reach: target.parse().ok(),
            ..UplinkOptions::default()
        };
        let choice = choose_here(&reach("192.168.56.12"), V4);
        assert_eq!(
            (choice.uplink.name.as_str(), choice.uplink.addrs.v4),
            ("lan", "192.168.56.11".parse().ok())
        );
        assert_eq!(choose_here(&reach("8.8.8.8"), V4).uplink.name, "wan");

        ip("route del default metric 100
            route del default metric 200");
        let error = choose(&reach("8.8.8.8"), &V4).expect_err("no route");
        assert!(error.to_string().contains("no route to 8.8.8.8"), "{error}");
    });
}

#[test]
fn what_is_on_the_link_comes_from_routes_without_gateway() {
    isolated(|| {
        two_uplinks();
        let options = UplinkOptions {
            ifaces: vec!["lan".to_owned()],
            ..UplinkOptions::default()
        };
        let uplink = choose_here(&options, BOTH).uplink;
        let reaches = |text: &str| uplink.reaches_directly(&text.parse().expect("an address"));
        assert!(reaches("192.168.56.12") && reaches("192.168.57.1") && reaches("fd00:56::12"));
        assert!(!reaches("192.168.58.1") && !reaches("10.0.2.2") && !reaches("8.8.8.8"));
    });
}

#[test]
fn a_secondary_address_and_a_deprecated_one_come_last_or_not_at_all() {
    isolated(|| {
        ip("link add lan type veth peer name lan-far
            link set lan up
            link set lan-far up
            addr add fd00:56::1/64 dev lan nodad preferred_lft 0
            addr add fd00:56::2/64 dev lan nodad valid_lft 600 preferred_lft 600
            addr add fd00:56::3/64 dev lan nodad");
        let options = UplinkOptions {
            ifaces: vec!["lan".to_owned()],
            ..UplinkOptions::default()
        };
        let addr = || {
            choose_here(&options, V6)
                .uplink
                .addrs
                .v6
                .map(|a| a.to_string())
        };
        assert_eq!(addr().as_deref(), Some("fd00:56::3"));
        ip("addr del fd00:56::3/64 dev lan");
        assert_eq!(addr().as_deref(), Some("fd00:56::2"));
        ip("addr del fd00:56::2/64 dev lan");
        assert!(addr().is_some_and(|addr| addr.starts_with("fe80::")));
    });
}

#[test]
fn a_host_without_any_route_gets_an_error_that_names_the_way_out() {
    isolated(|| {
        let error = choose(&UplinkOptions::default(), &V4).expect_err("nothing there");
        assert_eq!(
            error.to_string(),
            "no uplink: there is no IPv4 default route; name the interface with --iface"
        );
    });
}

#[test]
fn two_next_hops_on_one_interface_are_in_no_doubt_and_on_two_they_are() {
    isolated(|| {
        two_uplinks();
        ip("route del default metric 100
            route del default metric 200
            route add default nexthop via 10.0.2.2 dev wan nexthop via 10.0.2.3 dev wan
            -6 route del default
            -6 route add default nexthop via fd00:56::1 dev lan nexthop via fd00:56::2 dev lan");
        assert_eq!(
            choose_here(&UplinkOptions::default(), V4).uplink.name,
            "wan"
        );
        assert_eq!(
            choose_here(&UplinkOptions::default(), V6).uplink.name,
            "lan"
        );
        ip("route replace default nexthop via 10.0.2.2 dev wan nexthop via 192.168.56.1 dev lan");
        let error = choose(&UplinkOptions::default(), &V4).expect_err("two interfaces");
        let text = error.to_string();
        assert!(text.contains("next hops on several interfaces"), "{text}");
    });
}

#[test]
fn alternative_names_and_the_pods_bridge_are_told_by_the_kernel() {
    isolated(|| {
        two_uplinks();
        ip("link property add dev lan altname enp0s9
            link add cni0 type bridge
            link set lan-far master cni0
            link set cni0 up
            addr add 192.168.99.5/24 dev cni0
            addr add 192.168.98.5/24 dev lan-far
            route add default via 192.168.99.1 dev cni0 metric 1");
        let named = |name: &str| UplinkOptions {
            ifaces: vec![name.to_owned()],
            ..UplinkOptions::default()
        };
        assert_eq!(choose_here(&named("enp0s9"), V4).uplink.name, "lan");
        assert_eq!(
            choose_here(&UplinkOptions::default(), V4).uplink.name,
            "wan"
        );
        for (name, reason) in [
            ("cni0", "it is the pods' bridge"),
            ("lan-far", "it is a port of cni0"),
        ] {
            let error = choose(&named(name), &V4).expect_err(name).to_string();
            assert!(error.contains(reason), "{error}");
        }
    });
}
