//! Links that a plugin's DEL has set aside: the agent removes them, and nothing else.

use std::fs;
use std::path::Path;

use tweed_attach::Owner;
use tweed_attach::live::Records;
use tweed_attach::live::discarded::{cut, is_discarded, names, set_aside};
use tweed_kernel::{Event, Kernel, Linux, Monitor};
use tweed_netlink::{LinkInfo, Netlink};
use tweed_state::attached::repairs;

use crate::lab::{Healer, isolated, sh};

fn owner(number: u32) -> Owner {
    Owner::new("cbr0", &format!("c{number}"), "eth0")
}

/// A pair with its host's end in the bridge.
fn pair(netlink: &mut Netlink, number: u32) -> LinkInfo {
    sh(&format!(
        "ip link add veth{number} type veth peer name eth{number}
         ip link set veth{number} master cni0 up; ip link set eth{number} up
         ip addr add 10.1.2.{number}/24 dev veth{number}
         ip addr add fd00::{number}/64 dev veth{number} nodad"
    ));
    netlink.link(&format!("veth{number}")).unwrap().unwrap()
}

fn discard(netlink: &mut Netlink, link: &LinkInfo, owner: &Owner) -> LinkInfo {
    cut(netlink, link).unwrap();
    set_aside(netlink, link, owner).unwrap();
    netlink.link_by_index(link.index).unwrap().unwrap()
}

fn links() -> String {
    sh("ip -br link | cut -d' ' -f1 | cut -d@ -f1 | grep -v '^lo$' | tr '\\n' ' '")
}

#[test]
fn a_link_that_is_set_aside_is_down_in_no_bridge_and_without_addresses_or_its_name() {
    isolated(|| {
        sh("ip link add cni0 type bridge");
        let mut netlink = Netlink::open().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let link = pair(&mut netlink, 1);
            let now = discard(&mut netlink, &link, &owner(1));
            assert!(is_discarded(&now) && !now.up && now.master.is_none());
            assert_eq!(netlink.addrs(Some(link.index)).unwrap(), []);
            assert_eq!(sh("ip route"), "");
            waiting.push(now.name);
            sh(
                "ip link set eth1 down; ip link set eth1 name other$(ls /proc/sys/net/ipv4/conf | wc -l)",
            );
        }
        let expected: Vec<String> = names(&owner(1)).take(3).collect();
        assert_eq!(waiting, expected);
    });
}

#[test]
fn the_agent_removes_links_that_were_set_aside_and_no_others() {
    isolated(|| {
        let folder = tempfile::tempdir().unwrap();
        sh("ip link add cni0 type bridge
            ip link add gone00000001 type veth peer name stays
            ip link set gone00000001 alias mine");
        let mut netlink = Netlink::open().unwrap();
        let kept = pair(&mut netlink, 1);
        for number in 2..6 {
            let link = pair(&mut netlink, number);
            discard(&mut netlink, &link, &owner(number));
        }
        let done = Healer::of(folder.path()).repairs();
        let [done] = done.try_into().unwrap();
        assert!(
            done.starts_with("delete links gone") && done.contains(" and 1 more, which DEL"),
            "{done}"
        );
        assert!(netlink.link(&kept.name).unwrap().is_some());
        let left = links();
        for name in ["cni0", "gone00000001", "stays", "veth1", "eth1"] {
            assert!(left.contains(name), "{left}");
        }
        assert_eq!(left.split_whitespace().count(), 5, "{left}");
    });
}

/// What the runtime's library keeps of an attachment until its DEL has ended.
fn keep(data: &Path, port: &str) {
    // {"type":"bridge"}
    let text = format!(
        r#"{{"kind":"cniCacheV1","containerId":"c1","networkName":"cbr0","ifName":"eth0","config":"eyJ0eXBlIjoiYnJpZGdlIn0=",
        "result":{{"interfaces":[{{"name":"cni0"}},{{"name":"{port}"}},{{"name":"eth0","sandbox":"/x"}}],
        "ips":[{{"address":"10.1.2.1/24"}}]}}}}"#
    );
    fs::create_dir(data.join("results")).unwrap();
    fs::write(data.join("results/cbr0-c1-eth0"), text).unwrap();
}

#[test]
fn a_port_that_a_del_has_cut_is_not_put_back_though_the_runtime_still_keeps_its_result() {
    isolated(|| {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sh("ip link add cni0 type bridge; ip link set cni0 up");
        let mut netlink = Netlink::open().unwrap();
        let link = pair(&mut netlink, 1);
        keep(data.path(), &link.name);
        let mut linux = Linux::open()
            .unwrap()
            .with_attachments(Records::new(folder.path(), data.path()));
        let networks = ["10.1.0.0/16".parse().unwrap()];
        let mut repairs = || {
            let seen = linux.attachments(&networks).unwrap();
            repairs(&seen.wanted, &seen.there)
        };
        assert_eq!(repairs(), []);
        sh("ip link set veth1 nomaster");
        assert_eq!(repairs().len(), 1, "another program has done that");
        sh(&format!("ip link set veth1 master cni0 alias {}", owner(1)));
        cut(&mut netlink, &link).unwrap();
        assert_eq!(repairs(), []);
    });
}

#[test]
fn a_link_that_is_set_aside_is_reported_whatever_it_was() {
    isolated(|| {
        sh("ip link add ifb7 type ifb; ip link set ifb7 up");
        let mut linux = Linux::open().unwrap();
        linux.attachments(&[]).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let monitor = Monitor::start(&linux, move |event| tell.send(event).unwrap()).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("ifb7").unwrap().unwrap();
        discard(&mut netlink, &link, &owner(1));
        let limit = std::time::Duration::from_secs(10);
        while told.recv_timeout(limit).unwrap() != Event::Attached {}
        monitor.stop();
    });
}
