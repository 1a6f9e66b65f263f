//! `static`.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, VERSIONS, on_host};

fn call(host: &Host, version: &str, pod: &Pod) -> Call {
    let ipam = json!({
        "type": "static",
        "addresses": [
            {"address": "10.0.0.9/24", "gateway": "10.0.0.1"},
            {"address": "fd00::9/64", "gateway": "fd00::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "192.168.0.0/16", "gw": "10.0.0.5"},
            {"dst": "192.168.0.0/16", "gw": "10.0.0.6"},
            {"dst": "fd01::/64", "gw": "fd00::5"},
        ],
        "dns": {"nameservers": ["10.0.0.1"], "domain": "example.com", "search": ["example.com"]},
    });
    let conf = json!({"cniVersion": version, "name": "net", "type": "x", "ipam": ipam});
    host.call("static", conf, pod)
}

/// What both plugins answer, which must be the same but for what Go's of Debian doesn't know yet.
fn same(call: &Call) -> Value {
    let (ours, go) = (call.add(), call.of_go().add());
    assert_eq!(ours, go);
    ours
}

#[test]
fn addresses_routes_and_dns_are_those_of_the_configuration_as_in_go() {
    on_host(|host| {
        let pod = Pod::new();
        for version in VERSIONS {
            let call = call(host, version, &pod);
            let result = match version {
                "1.1.0" => call.add(),
                _ => same(&call),
            };
            match version < "0.3.0" {
                true => assert_eq!(result["ip4"]["ip"], "10.0.0.9/24"),
                false => assert_eq!(result["routes"].as_array().unwrap().len(), 4),
            }
            call.after(&result).ok("DEL");
            call.container_id("unknown").netns("").ok("DEL");
        }
    });
}

#[test]
fn the_runtimes_addresses_replace_those_of_args_which_replace_the_others_as_in_go() {
    on_host(|host| {
        let pod = Pod::new();
        let mut call = call(host, "1.0.0", &pod).args("IgnoreUnknown=1;IP=10.1.0.9/16");
        assert_eq!(same(&call)["ips"].as_array().unwrap().len(), 3);
        call = call.set("args", json!({"cni": {"ips": ["10.2.0.9/24"]}}));
        assert_eq!(same(&call)["ips"], json!([{"address": "10.2.0.9/24"}]));
        call = call.set(
            "runtimeConfig",
            json!({"ips": ["10.3.0.9/24", "fd03::9/64"]}),
        );
        let both = json!([{"address": "10.3.0.9/24"}, {"address": "fd03::9/64"}]);
        assert_eq!(same(&call)["ips"], both);
    });
}

#[test]
fn check_notices_an_address_that_is_gone_or_has_another_gateway() {
    on_host(|host| {
        let pod = Pod::new();
        let call = call(host, "1.1.0", &pod);
        let result = call.add();
        call.after(&result).ok("CHECK");
        call.ok("STATUS");
        call.valid(&[]).ok("GC");
        let mut other = result;
        other["ips"][0]["gateway"] = "10.0.0.2".into();
        let (code, text) = call.after(&other).fails("CHECK");
        assert_eq!(code, 103);
        assert!(text.contains("gateway of 10.0.0.9/24"), "{text}");
        other["ips"].as_array_mut().unwrap().remove(0);
        let (_, text) = call.after(&other).fails("CHECK");
        assert!(text.contains("Failed to match addr 10.0.0.9/24"), "{text}");
    });
}

#[test]
fn a_pod_of_a_bridge_has_the_address_that_it_was_told() {
    on_host(|host| {
        let pod = Pod::new();
        let ipam = json!({
            "type": "static",
            "addresses": [{"address": "10.0.0.9/24", "gateway": "10.0.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        let conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge", "isGateway": true,
            "ipam": ipam, "stateDir": host.path("run"),
        });
        let call = host.call("bridge", conf, &pod);
        let result = call.add();
        assert_eq!(pod.addrs("eth0"), ["10.0.0.9/24"]);
        assert!(pod.reaches("10.0.0.1"));
        call.after(&result).ok("CHECK");
        call.ok("DEL");
    });
}

#[test]
fn without_the_ipam_key_there_is_no_address_whatever_the_runtime_says_as_in_go() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "x"});
        let call = host.call("static", conf, &pod);
        let args = json!({"cni": {"ips": ["10.2.0.9/24"]}});
        let runtime = json!({"ips": ["10.3.0.9/24"]});
        for call in [call.set("args", args), call.set("runtimeConfig", runtime)] {
            let (code, text) = call.fails("ADD");
            assert!(text.contains("missing 'ipam' key"), "{text}");
            assert_eq!(code, 7);
            call.of_go().fails("ADD");
        }
    });
}
