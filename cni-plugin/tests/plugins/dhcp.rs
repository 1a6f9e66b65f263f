//! `dhcp` with real servers: what a pod gets, keeps and gives back.

use serde_json::json;

use super::dhcp_lab::{Link, alone, bridge, daemon, eventually, given, ipam, kept, macvlan};
use super::lab::{Call, Host, Pod, VERSIONS, go_folder, on_host};

/// ADD, what it gives, CHECK, DEL, and that the server has the address back.
fn a_life(host: &Host, pod: &Pod, call: &Call) {
    let result = call.add();
    assert_eq!(result["ips"][0]["gateway"], "10.9.0.1");
    let dns = json!({"domain": "lab.example", "nameservers": ["10.9.0.1"]});
    if result["cniVersion"] == "1.1.0" {
        assert_eq!(result["dns"], dns);
    }
    let address = pod.addrs("eth0")[0].replace("/16", "");
    assert_eq!(given(host), [address]);
    assert!(pod.sh("ip route").contains("default via 10.9.0.1"));
    assert!(pod.reaches("10.9.0.1"));
    let id = format!("{}/net/eth0", pod.name());
    let id: String = id.bytes().map(|byte| format!(":{byte:02x}")).collect();
    let leases = std::fs::read_to_string(host.path("leases")).unwrap();
    assert!(leases.contains(&format!("00{id}")), "{leases}");

    call.after(&result).ok("CHECK");
    assert_eq!(kept(host), 1);
    call.after(&result).ok("DEL");
    eventually("the server has the address back", || given(host).is_empty());
    assert_eq!(kept(host), 0);
    call.netns("").ok("DEL");
}

#[test]
fn a_pod_of_macvlan_gets_address_route_and_name_server_and_gives_the_address_back() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "");
        a_life(host, &pod, &macvlan(host, &pod));
    });
}

#[test]
fn a_pod_of_a_bridge_gets_address_route_and_name_server_and_gives_the_address_back() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "");
        a_life(host, &pod, &bridge(host, &pod));
    });
}

#[test]
fn every_version_has_its_result_and_a_repeated_add_and_del_change_nothing() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "");
        let call = alone(host, &pod);
        let mut addresses = Vec::new();
        for version in VERSIONS {
            let result = call.set("cniVersion", version).add();
            let address = match version < "0.3.0" {
                true => &result["ip4"]["ip"],
                false => &result["ips"][0]["address"],
            };
            addresses.push(address.as_str().unwrap().to_owned());
        }
        addresses.dedup();
        assert_eq!(addresses.len(), 1, "one lease");
        call.ok("STATUS");
        for _ in 0..2 {
            call.ok("DEL");
        }
        eventually("released", || given(host).is_empty());
    });
}

#[test]
fn a_lease_is_kept_for_more_than_three_times_its_length_though_the_daemon_is_killed() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let server = link.udhcpd(host, 6);
        let first = daemon(host, "");
        let call = macvlan(host, &pod);
        let result = call.add();
        let renewed = |times: usize| {
            let log = std::fs::read_to_string(host.path("daemon.log")).unwrap();
            log.matches("for 6 s").count() > times
        };
        eventually("renewed three times", || renewed(3));
        drop(first);
        let second = daemon(host, "");
        second.wait_for("had 10.9.1.");
        // The first answer to it is that to INIT-REBOOT.
        eventually("renewed five times more", || renewed(8));
        let address = result["ips"][0]["address"].as_str().unwrap();
        assert_eq!(pod.addrs("eth0"), [address], "{}", server.log());
        assert!(pod.reaches("10.9.0.1"));
        call.after(&result).ok("CHECK");
        call.ok("DEL");
        assert_eq!(kept(host), 0);
    });
}

#[test]
fn pods_with_one_ethernet_address_have_a_lease_each() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "-broadcast");
        let pods = [Pod::new(), Pod::new()];
        let mut addresses: Vec<String> = Vec::new();
        for pod in &pods {
            let same = json!({"mac": "02:00:00:00:00:07"});
            let call = bridge(host, pod).set("runtimeConfig", same);
            let result = call.add();
            addresses.push(
                result["ips"][0]["address"]
                    .as_str()
                    .unwrap()
                    .replace("/16", ""),
            );
        }
        addresses.sort();
        assert_eq!(given(host), addresses);
        assert_ne!(addresses[0], addresses[1]);
    });
}

#[test]
fn options_are_sent_and_asked_for_and_classless_routes_replace_the_router() {
    on_host(|host| {
        let (link, pod) = (Link::new(), Pod::new());
        let server = link.dnsmasq(
            host,
            "--dhcp-option=121,10.7.0.0/16,10.9.0.2,10.8.0.0/16,0.0.0.0",
        );
        let _daemon = daemon(host, "");
        let mut ipam = ipam(host);
        ipam["priority"] = 77.into();
        ipam["request"] = json!([{"option": "121"}]);
        ipam["provide"] = json!([
            {"option": "host-name", "fromArg": "K8S_POD_NAME"},
            {"option": "vendor-class-identifier", "value": "a-class"},
        ]);
        let call = macvlan(host, &pod).set("ipam", ipam);
        call.args("IgnoreUnknown=1;K8S_POD_NAME=web-0").add();
        let routes = pod.sh("ip route");
        assert!(routes.contains("10.7.0.0/16 via 10.9.0.2"), "{routes}");
        assert!(!routes.contains("default"), "{routes}");
        let log = server.log();
        for text in [
            "client provides name: web-0",
            "vendor class: a-class",
            "121:classless-static-route",
        ] {
            assert!(log.contains(text), "{text}: {log}");
        }
    });
}

#[test]
fn go_s_plugin_and_go_s_daemon_are_told_from_ours() {
    on_host(|host| {
        let (_link, pod) = (Link::new(), Pod::new());
        let ours = daemon(host, "");
        let call = alone(host, &pod).set("cniVersion", "1.0.0");
        let (_, text) = call.of_go().fails("ADD");
        assert!(text.contains("use tweed's dhcp plugin with it"), "{text}");
        drop(ours);
        let mut go = std::process::Command::new(format!("{}/dhcp", go_folder()));
        std::fs::remove_file(host.path("dhcp.sock")).unwrap();
        go.arg("daemon")
            .arg("-socketpath")
            .arg(host.path("dhcp.sock"));
        let _go = super::dhcp_lab::Process::start(host, "go", go);
        eventually("Go's daemon listens", || host.path("dhcp.sock").exists());
        let (_, text) = call.fails("ADD");
        assert!(text.contains("is not tweed's"), "{text}");
    });
}
