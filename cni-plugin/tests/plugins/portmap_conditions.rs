//! `portmap` under conditions: who may use a host port.

use serde_json::json;

use super::lab::{on_host, sh};
use super::traffic::{At, Server, mapped, mapping, outside};

#[test]
fn a_host_port_under_conditions_is_for_those_that_meet_them() {
    on_host(|host| {
        let [first, second] = [outside(7), outside(8)];
        sh("ip route add 192.0.2.8 dev wire8; ip route add 2001:db8:9::8 dev wire8");
        let ports = json!([mapping("tcp", "", 8080, 80), mapping("udp", "", 8080, 80)]);
        let pod = mapped(host, &ports);
        let server = Server::at(At::Pod(&pod.pod), 80);
        for (v4, v6, expected) in [
            (json!([]), json!([]), [true, true, true, true]),
            (
                json!(["-s", "192.0.2.7/32"]),
                json!(["!", "-s", "2001:db8:9::7"]),
                [true, false, false, true],
            ),
            (
                json!(["ip", "saddr", "!=", "192.0.2.7"]),
                json!(["ip6", "saddr", "2001:db8:9::7/128"]),
                [false, true, true, false],
            ),
            (
                json!(["!", "-d", "192.0.2.0/24"]),
                json!(["-d", "2001:db8:9::/64"]),
                [false, false, true, true],
            ),
        ] {
            let call = pod.call.set("conditionsV4", v4.clone());
            let call = call.set("conditionsV6", v6.clone());
            call.add();
            call.add();
            call.ok("CHECK");
            let reach =
                |to: &str| [&first, &second].map(|pod| server.tcp_from(At::Pod(pod), to).is_some());
            let [a, b] = reach("192.0.2.1:8080");
            let [c, d] = reach("[2001:db8:9::1]:8080");
            assert_eq!([a, b, c, d], expected, "{v4} {v6}");
        }
        // By protocol.
        let call = pod.call.set("conditionsV4", json!(["!", "-p", "udp"]));
        call.add();
        let from = At::Pod(&first);
        assert!(server.tcp_from(from, "192.0.2.1:8080").is_some());
        assert!(server.udp_from(from, "192.0.2.1:8080").is_none());
        assert!(server.udp_from(from, "[2001:db8:9::1]:8080").is_some());
        call.ok("CHECK");
        sh("nft flush map inet tweed-cni hostflow4");
        let (_, error) = call.fails("CHECK");
        assert!(error.contains("tcp 0.0.0.0:8080"), "{error}");
        call.ok("DEL");
        let left = sh("nft list map inet tweed-cni hostflow6");
        assert!(!left.contains("comment"), "{left}");
    });
}

#[test]
fn a_port_under_conditions_is_one_containers() {
    on_host(|host| {
        let ports = json!([mapping("tcp", "", 8080, 80)]);
        let [one, other] = [mapped(host, &json!([])), mapped(host, &json!([]))];
        let call = one
            .call
            .set("runtimeConfig", json!({"portMappings": ports}));
        let call = call.set("conditionsV4", json!(["-s", "192.0.2.0/24"]));
        call.add();
        let second = other
            .call
            .set("runtimeConfig", json!({"portMappings": ports}));
        for second in [
            second.set("conditionsV4", json!(["-s", "198.51.100.0/24"])),
            second.clone(),
        ] {
            let (_, error) = second.fails("ADD");
            assert!(error.contains("is already taken by"), "{error}");
        }
        call.ok("DEL");
        second.add();
        second.ok("DEL");
    });
}
