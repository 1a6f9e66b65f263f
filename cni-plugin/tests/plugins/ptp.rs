//! `ptp`: routes on both ends, traffic by the gateway.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, addrs, on_host, sh};

const SUBNETS: [&str; 2] = ["10.1.2.0/24", "fd00:1::/64"];

fn call(host: &Host, pod: &Pod) -> Call {
    let mut ipam = host.ipam(&SUBNETS);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ptp", "mtu": 1400, "ipam": ipam,
        "stateDir": host.path("run"),
    });
    host.call("ptp", conf, pod)
}

fn host_end(result: &Value) -> String {
    result["interfaces"][0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn pods_of_a_pair_each_reach_the_host_and_one_another_by_their_gateway() {
    on_host(|host| {
        let (one, two) = (Pod::new(), Pod::new());
        let results = [&one, &two].map(|pod| call(host, pod).add());
        for pod in [&one, &two] {
            assert!(pod.reaches("10.1.2.1") && pod.reaches("fd00:1::1"));
        }
        assert!(one.reaches("10.1.2.3") && one.reaches("fd00:1::3"));
        sh("ping -c1 -W2 10.1.2.2 && ping -c1 -W2 fd00:1::2");
        let name = host_end(&results[0]);
        assert_eq!(addrs(&name), ["10.1.2.1/32", "fd00:1::1/128"]);
        assert!(sh(&format!("ip link show {name}")).contains("mtu 1400"));
        let routes = one.sh("ip route && ip -6 route");
        for wanted in [
            "default via 10.1.2.1 dev eth0",
            "10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.2",
            "10.1.2.1 dev eth0 scope link src 10.1.2.2",
            "fd00:1::/64 via fd00:1::1 dev eth0",
            "default via fd00:1::1 dev eth0",
        ] {
            assert!(routes.contains(wanted), "{wanted}: {routes}");
        }
        assert!(!routes.contains("10.1.2.0/24 dev"), "{routes}");
        let ips = &results[0]["ips"];
        assert!(
            ips[0]["interface"] == 1 && ips[1]["interface"] == 1,
            "{ips}"
        );
        assert_eq!(results[0]["interfaces"][1]["sandbox"], one.path());
        for (pod, result) in [(&one, &results[0]), (&two, &results[1])] {
            call(host, pod).after(result).ok("CHECK");
            call(host, pod).ok("DEL");
        }
        assert!(host.links().is_empty());
        assert!(!sh("ip route").contains("10.1.2."));
    });
}

#[test]
fn an_address_alone_and_a_gateway_outside_of_its_subnet_are_enough() {
    on_host(|host| {
        let pod = Pod::new();
        let result = json!({
            "cniVersion": "1.0.0", "ips": [{"address": "10.1.2.9/32", "gateway": "169.254.1.1"}],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        let dir = host.program("pool", &format!("cat > /dev/null; echo '{result}'"));
        let call = call(host, &pod)
            .set("cniVersion", "1.0.0")
            .set("ipam", json!({"type": "pool"}))
            .path(dir.to_str().unwrap());
        call.add();
        assert!(pod.reaches("169.254.1.1"));
        sh("ping -c1 -W2 10.1.2.9");
        let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.9/32"}]});
        let other = Pod::new();
        host.program("pool", &format!("cat > /dev/null; echo '{result}'"));
        let (_, text) = call.netns(&other.path()).container_id("other").fails("ADD");
        let wanted = "the IPAM plugin gives no gateway for 10.1.2.9/32";
        assert!(text.contains(wanted), "{text}");
        assert!(other.links().is_empty());
    });
}

#[test]
fn name_servers_of_the_configuration_go_before_those_of_the_ipam_plugin_also_none() {
    on_host(|host| {
        let resolv = host.path("resolv.conf");
        std::fs::write(&resolv, "nameserver 192.0.2.53\n").unwrap();
        let mut ipam = host.ipam(&SUBNETS[..1]);
        ipam["resolvConf"] = json!(resolv);
        for (dns, wanted) in [
            (json!({}), json!({"nameservers": ["192.0.2.53"]})),
            (
                json!({"domain": "example.com"}),
                json!({"domain": "example.com"}),
            ),
            (json!({"nameservers": []}), Value::Null),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod).set("ipam", ipam.clone()).set("dns", dns);
            assert_eq!(call.add()["dns"], wanted);
            call.ok("DEL");
        }
    });
}

#[test]
fn check_of_a_pair_notices_what_is_not_as_it_was() {
    on_host(|host| {
        for (command, text) in [
            (
                "pod: ip addr del 10.1.2.2/24 dev eth0",
                "Failed to match addr",
            ),
            ("pod: ip route del default", "Expected Route 0.0.0.0/0"),
            (
                "ip addr del 10.1.2.1/32 dev END",
                "gateway's address 10.1.2.1/32",
            ),
            (
                "ip route del 10.1.2.2 dev END",
                "Expected Route 10.1.2.2/32",
            ),
            ("ip link set END down", "is down"),
            ("nft flush ruleset", "is not masqueraded"),
            ("ip link del END", "container interface eth0 not found"),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod)
                .set("ipMasq", true)
                .set("runtimeConfig", json!({"ips": ["10.1.2.2"]}));
            let result = call.add();
            call.after(&result).ok("CHECK");
            match command.strip_prefix("pod: ") {
                Some(command) => drop(pod.sh(command)),
                None => drop(sh(&command.replace("END", &host_end(&result)))),
            }
            let (code, error) = call.after(&result).fails("CHECK");
            assert!(error.contains(text), "{command}: {error}");
            assert_eq!(code, 103, "{command}");
            call.ok("DEL");
        }
    });
}
