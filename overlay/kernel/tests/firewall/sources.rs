//! The check of a port's source addresses, flushed by others and put back by its record.

use tempfile::TempDir;
use tweed_attach::live::{bind_source, free_source, is_source_bound};
use tweed_attach::record::{Record, file_name, leaving};
use tweed_model::{Bridged, Mac, Port};
use tweed_netlink::Netfilter;

use crate::lab::{Healer, isolated, sh};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

fn record() -> Record {
    Record {
        network: "cbr0".into(),
        container_id: "a".into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged: Some(Bridged {
            bridge: "cni0".into(),
            ports: vec![Port {
                name: "veth1".into(),
                only_source: Some(MAC),
                ..Port::default()
            }],
            ..Bridged::default()
        }),
        netns: String::new(),
        routed: None,
    }
}

#[test]
fn the_check_of_source_addresses_is_put_back_unless_its_attachment_goes() {
    isolated(|| {
        sh("ip link add cni0 type bridge && ip link set cni0 up");
        sh("ip link add veth1 type veth peer name pod && ip link set veth1 up master cni0");
        let (folder, record) = (TempDir::new().unwrap(), record());
        let owner = record.owner();
        let path = folder.path().join(file_name(&owner));
        std::fs::write(&path, record.render()).unwrap();
        let mut socket = Netfilter::open().unwrap();
        bind_source(&mut socket, &owner, "veth1", MAC).unwrap();
        let before = sh("nft list table bridge tweed-cni");
        let mut healer = Healer::of(folder.path());
        assert_eq!(healer.repairs(), [""; 0], "all is well");
        for damage in [
            "nft flush ruleset",
            "nft delete table bridge tweed-cni",
            "nft flush chain bridge tweed-cni prerouting",
            "nft flush set bridge tweed-cni ports",
            "nft flush set bridge tweed-cni sources",
            "nft flush set bridge tweed-cni sources && nft 'add element bridge tweed-cni sources { \"veth1\" . 02:00:00:00:00:09 }'",
        ] {
            sh(damage);
            assert!(!is_source_bound(&mut socket, &owner, "veth1", MAC).unwrap());
            let repairs = healer.repairs();
            let expected =
                "drop frames by veth1 that are not from 02:00:00:00:00:07 of cbr0/a/eth0";
            assert_eq!(repairs, [expected], "{damage}");
            assert_eq!(sh("nft list table bridge tweed-cni"), before, "{damage}");
            assert_eq!(healer.repairs(), [""; 0], "{damage}");
        }
        std::fs::rename(&path, leaving(&path)).unwrap();
        free_source(&mut socket, &owner).unwrap();
        assert_eq!(healer.repairs(), [""; 0], "it is being removed");
        let left = sh("nft list table bridge tweed-cni");
        assert!(!left.contains("veth1"), "{left}");
    });
}
