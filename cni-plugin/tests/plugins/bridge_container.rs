//! The container's end of `bridge`: addresses, routes, switches.

use serde_json::json;

use super::lab::{Pod, on_host};

const V4: &str = "10.1.2.0/24";
const V6: &str = "2001:db8::/64";

#[test]
fn routes_are_there_once_and_with_their_attributes() {
    on_host(|host| {
        let pod = Pod::new();
        let mut conf = host.bridge_conf("1.0.0", &[V4, V6]);
        // A default route of the IPAM plugin and one of isDefaultGateway are the same route.
        conf["ipam"]["routes"] = json!([
            {"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"},
            {"dst": "10.9.0.0/16", "gw": "10.1.2.9", "mtu": 1300, "advmss": 1200, "priority": 7},
            {"dst": "10.9.0.0/16", "gw": "10.1.2.8", "priority": 7},
            {"dst": "10.8.0.0/16", "table": 100},
        ]);
        let call = host.call("bridge", conf, &pod);
        let result = call.add();
        let routes = pod.sh("ip route");
        assert_eq!(
            routes.matches("default via 10.1.2.1 dev eth0").count(),
            1,
            "{routes}"
        );
        assert!(routes.contains("10.9.0.0/16 via 10.1.2.9 dev eth0 metric 7 mtu 1300 advmss 1200"));
        assert!(
            routes.contains("10.9.0.0/16 via 10.1.2.8 dev eth0 metric 7"),
            "{routes}"
        );
        assert_eq!(pod.sh("ip -6 route show default").lines().count(), 1);
        assert!(
            pod.sh("ip route show table 100")
                .contains("10.8.0.0/16 via 10.1.2.1")
        );
        call.after(&result).ok("CHECK");
        pod.sh("ip route del default");
        let (code, text) = call.after(&result).fails("CHECK");
        assert_eq!(code, 103);
        assert!(
            text.contains("Expected Route 0.0.0.0/0 via 10.1.2.1 not found"),
            "{text}"
        );
    });
}

#[test]
fn addresses_are_usable_at_once_and_duplicates_are_looked_for_on_request() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("bridge", host.bridge_conf("1.0.0", &[V6]), &pod);
        call.add();
        assert!(pod.sh("ip -6 addr show dev eth0 tentative").is_empty());
        assert_eq!(
            pod.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(),
            "0"
        );
        call.ok("DEL");
        let second = Pod::new();
        second.sh("ip link set lo up");
        let result = call.set("enabledad", true).add();
        assert!(pod.sh("ip -6 addr show dev eth0 tentative").is_empty());
        // A host takes the next address without asking; the pod that gets it then must notice.
        assert_eq!(result["ips"][0]["address"], "2001:db8::3/64");
        pod.sh("ip addr add 2001:db8::4/64 dev eth0 nodad");
        let other = host.call("bridge", host.bridge_conf("1.0.0", &[V6]), &second);
        let (_, text) = other.set("enabledad", true).fails("ADD");
        assert!(
            text.contains("has address 2001:db8::4/64 in DADFAILED state"),
            "{text}"
        );
        assert_eq!(host.veths().len(), 1);
        assert_eq!(host.reservations("net"), ["2001:db8::3"]);
    });
}

#[test]
fn ipv6_is_switched_on_where_a_runtime_switched_it_off() {
    on_host(|host| {
        let pod = Pod::new();
        pod.sh("sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6'");
        host.call("bridge", host.bridge_conf("1.0.0", &[V4, V6]), &pod)
            .add();
        assert!(pod.reaches("2001:db8::1"));
    });
}

#[test]
fn router_advertisements_are_taken_only_if_configured() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod);
        call.set("acceptRA", true).add();
        assert_eq!(
            pod.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(),
            "1"
        );
    });
}

#[test]
fn neighbours_learn_at_once_who_has_an_address_now() {
    on_host(|host| {
        let (watcher, first, second) = (Pod::new(), Pod::new(), Pod::new());
        let conf = || host.bridge_conf("1.0.0", &[V4, V6]);
        host.call("bridge", conf(), &watcher)
            .args("IP=10.1.2.100")
            .add();
        let ask = |pod: &Pod| {
            host.call("bridge", conf(), pod).set(
                "runtimeConfig",
                json!({"ips": ["10.1.2.50", "2001:db8::50"]}),
            )
        };
        ask(&first).add();
        assert!(watcher.reaches("10.1.2.50") && watcher.reaches("2001:db8::50"));
        ask(&first).ok("DEL");
        let result = ask(&second).add();
        let new = result["interfaces"][2]["mac"].as_str().unwrap();
        let learnt = || {
            let table = watcher.sh("ip neigh show dev eth0");
            let of = |addr: &str| {
                table
                    .lines()
                    .any(|l| l.starts_with(&format!("{addr} ")) && l.contains(new))
            };
            of("10.1.2.50") && of("2001:db8::50")
        };
        let since = std::time::Instant::now();
        while !learnt() {
            assert!(
                since.elapsed().as_secs() < 2,
                "{}",
                watcher.sh("ip neigh show dev eth0")
            );
        }
    });
}

#[test]
fn addresses_of_ipv6_stay_when_the_link_goes_down() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.0.0", &[V4, V6]);
        host.call("bridge", conf, &pod).add();
        let before = pod.addrs("eth0");
        assert_eq!(before.len(), 2);
        pod.sh("ip link set eth0 down && ip link set eth0 up");
        assert_eq!(pod.addrs("eth0"), before);
    });
}
