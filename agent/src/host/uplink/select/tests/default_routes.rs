//! Which default route decides.

use super::*;

#[test]
fn of_several_default_routes_the_lowest_metric_wins_and_of_equals_the_first() {
    let mut host = host();
    host.defaults = vec![
        default_route(Family::V4, 200, 2),
        default_route(Family::V4, 100, 3),
        default_route(Family::V4, 100, 2),
    ];
    assert_eq!(chosen(&options(), V4, &host), "eth1 192.168.56.11");
}

#[test]
fn default_routes_on_two_interfaces_are_no_answer_for_both_families() {
    let mut host = host();
    host.defaults[1] = default_route(Family::V6, 1024, 3);
    assert_eq!(
        refused(&options(), BOTH, &host),
        "no uplink: the IPv4 default route is on eth0, the IPv6 one on eth1; name the interface with --iface"
    );
    assert_eq!(chosen(&options(), V6, &host), "eth1 fd00:56::11");
}

#[test]
fn a_missing_or_multipath_default_route_is_an_error_that_names_the_way_out() {
    let mut host = host();
    host.defaults[0].interface = None;
    let text = refused(&options(), V4, &host);
    assert!(
        text.contains("next hops on several interfaces; name the interface with --iface"),
        "{text}"
    );
    host.defaults.clear();
    let text = refused(&options(), V4, &host);
    assert_eq!(
        text,
        "no uplink: there is no IPv4 default route; name the interface with --iface"
    );
}
