//! `bridge` and what leaves its network: masquerading and forwarding.

use serde_json::json;

use super::lab::{Pod, on_host, sh};

const V4: &str = "10.1.2.0/24";
const V6: &str = "2001:db8::/64";

#[test]
fn masquerading_is_set_up_checked_and_removed_by_owner() {
    on_host(|host| {
        let pod = Pod::new();
        let mut conf = host.bridge_conf("1.0.0", &[V4, V6]);
        conf["ipMasq"] = json!(true);
        let (eth0, net1) = {
            let call = host.call("bridge", conf, &pod);
            (
                call.clone(),
                call.ifname("net1").set("isDefaultGateway", false),
            )
        };
        let result = eth0.add();
        let table = || sh("nft list table inet tweed-cni");
        let owner = format!("net/{}/eth0", pod.name());
        assert!(
            table().contains(&format!("10.1.2.2 comment \"{owner}\"")),
            "{}",
            table()
        );
        assert!(table().contains("2001:db8::2 comment"));
        eth0.after(&result).ok("CHECK");
        net1.add();
        eth0.ok("DEL");
        assert!(!table().contains(&owner) && table().contains("10.1.2.3 comment"));
        assert_eq!(std::fs::read_dir(host.path("run")).unwrap().count(), 1);

        let result = eth0.add();
        sh("nft flush ruleset");
        let (_, text) = eth0.after(&result).fails("CHECK");
        assert!(text.contains("10.1.2.4/24 is not masqueraded"), "{text}");
        eth0.ok("DEL");
        net1.ok("DEL");
        assert_eq!(std::fs::read_dir(host.path("run")).unwrap().count(), 0);
    });
}

#[test]
fn masqueraded_packets_leave_with_the_hosts_address() {
    on_host(|host| {
        let (pod, outside) = (Pod::new(), Pod::new());
        sh(&format!(
            "ip link add up0 type veth peer name eth0 netns {}",
            outside.name()
        ));
        sh("ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up");
        outside.sh("ip addr add 192.0.2.2/24 dev eth0");
        outside.sh("ip link set eth0 up");
        let call = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod);
        call.add();
        assert!(
            !pod.reaches("192.0.2.2"),
            "nobody outside knows the way back"
        );
        call.ok("DEL");
        let call = call.set("ipMasq", true);
        call.add();
        assert!(pod.reaches("192.0.2.2"));
    });
}

#[test]
fn forwarding_is_enabled_for_the_families_that_need_it() {
    on_host(|host| {
        let pod = Pod::new();
        let read = |key: &str| sh(&format!("cat /proc/sys/net/{key}")).trim().to_owned();
        sh(
            "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        let call = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod);
        call.set("isDefaultGateway", false).add();
        assert_eq!(read("ipv4/ip_forward"), "0");
        call.ok("DEL");
        call.add();
        assert_eq!(
            (read("ipv4/ip_forward"), read("ipv6/conf/all/forwarding")),
            ("1".into(), "0".into())
        );
    });
}
