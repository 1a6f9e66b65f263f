//! The plugins' table: many processes at once, owners in comments, and packets.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_attach::live::{masquerade, masqueraded, owners, remove_owner};
use tweed_attach::record::{Record, file_name};
use tweed_attach::{Owner, cni_base};
use tweed_netlink::Netfilter;
use tweed_nft::{diff, live};

use crate::lab::{Healer, Neighbour, addr, isolated, nft, sh, source_seen};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn set(texts: &[&str]) -> BTreeSet<IpNet> {
    nets(texts).into_iter().collect()
}

#[test]
fn an_attachment_comes_and_goes_and_both_may_be_repeated() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let owner = Owner::new("cbr0", &"a1".repeat(32), "eth0");
        let addrs = ["10.22.0.5/16", "fd00:22::5/64"];
        remove_owner(&mut socket, &owner).unwrap();
        for _ in 0..2 {
            masquerade(&mut socket, &owner, &nets(&addrs)).unwrap();
            assert_eq!(masqueraded(&mut socket, &owner).unwrap(), set(&addrs));
        }
        let listing = sh("nft list set inet tweed-cni own4");
        let element = format!("10.22.0.5 . 10.22.0.0/16 comment \"{owner}\"");
        assert!(listing.contains(&element), "{listing}");
        for _ in 0..2 {
            remove_owner(&mut socket, &owner).unwrap();
            assert!(owners(&mut socket).unwrap().is_empty());
        }
        let have = live::observe(&mut socket, "tweed-cni").unwrap();
        assert_eq!(diff(&cni_base(), have.as_ref()), None);
    });
}

#[test]
fn two_interfaces_of_one_container_go_separately() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let one = Owner::new("cbr0", "c", "eth0");
        let two = Owner::new("cbr0", "c", "eth1");
        masquerade(&mut socket, &one, &nets(&["10.22.0.5/16"])).unwrap();
        masquerade(&mut socket, &two, &nets(&["10.22.0.6/16"])).unwrap();
        remove_owner(&mut socket, &one).unwrap();
        assert_eq!(owners(&mut socket).unwrap(), BTreeSet::from([two.clone()]));
        assert_eq!(
            masqueraded(&mut socket, &two).unwrap(),
            set(&["10.22.0.6/16"])
        );
    });
}

#[test]
fn an_address_that_was_left_behind_goes_to_its_new_owner() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let dead = Owner::new("cbr0", "dead", "eth0");
        let alive = Owner::new("cbr0", "alive", "eth0");
        masquerade(&mut socket, &dead, &nets(&["10.22.0.5/24", "10.22.0.7/24"])).unwrap();
        // The network has grown in between: the pairs overlap.
        masquerade(&mut socket, &alive, &nets(&["10.22.0.5/16"])).unwrap();
        assert_eq!(
            masqueraded(&mut socket, &alive).unwrap(),
            set(&["10.22.0.5/16"])
        );
        // A late DEL of a removed container takes nothing from a running one.
        remove_owner(&mut socket, &dead).unwrap();
        assert_eq!(
            masqueraded(&mut socket, &alive).unwrap(),
            set(&["10.22.0.5/16"])
        );
        assert_eq!(owners(&mut socket).unwrap(), BTreeSet::from([alive]));
    });
}

#[test]
fn damage_to_the_rules_is_mended_by_the_next_attachment_and_keeps_the_others() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let one = Owner::new("cbr0", "one", "eth0");
        let two = Owner::new("cbr0", "two", "eth0");
        for damage in [
            "flush chain inet tweed-cni postrouting",
            "insert rule inet tweed-cni postrouting accept",
            "flush set inet tweed-cni masq6",
            "add chain inet tweed-cni somebody_else",
        ] {
            masquerade(&mut socket, &one, &nets(&["10.22.0.5/16"])).unwrap();
            nft(damage);
            masquerade(&mut socket, &two, &nets(&["10.22.0.6/16"])).unwrap();
            assert_eq!(
                masqueraded(&mut socket, &one).unwrap(),
                set(&["10.22.0.5/16"]),
                "{damage}"
            );
            assert_eq!(
                masqueraded(&mut socket, &two).unwrap(),
                set(&["10.22.0.6/16"]),
                "{damage}"
            );
            let rules = sh("nft list chain inet tweed-cni postrouting");
            assert_eq!(
                rules.matches(" masquerade ").count(),
                3,
                "{damage}: {rules}"
            );
        }
        nft("flush ruleset");
        masquerade(&mut socket, &two, &nets(&["10.22.0.6/16"])).unwrap();
        assert_eq!(
            masqueraded(&mut socket, &two).unwrap(),
            set(&["10.22.0.6/16"])
        );
    });
}

#[test]
fn a_damaged_attachment_is_seen() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let owner = Owner::new("cbr0", "one", "eth0");
        for damage in [
            "delete element inet tweed-cni masq4 { 10.22.0.5 }",
            "delete element inet tweed-cni own4 { 10.22.0.5 . 10.22.0.0/16 }",
            "flush chain inet tweed-cni postrouting",
            "delete table inet tweed-cni",
        ] {
            masquerade(&mut socket, &owner, &nets(&["10.22.0.5/16"])).unwrap();
            assert_eq!(masqueraded(&mut socket, &owner).unwrap().len(), 1);
            nft(damage);
            assert_eq!(
                masqueraded(&mut socket, &owner).unwrap().len(),
                0,
                "{damage}"
            );
        }
    });
}

#[test]
fn thirty_plugins_at_once_leave_the_rules_once_and_nobody_out() {
    isolated(|| {
        let owner = |n: u8| Owner::new("cbr0", &format!("container{n}"), "eth0");
        let addr = |n: u8| nets(&[&format!("10.22.0.{n}/16"), &format!("fd00:22::{n}/64")]);
        std::thread::scope(|scope| {
            for n in 1..=30 {
                scope.spawn(move || {
                    let mut socket = Netfilter::open().unwrap();
                    masquerade(&mut socket, &owner(n), &addr(n)).unwrap();
                    if n % 3 == 0 {
                        remove_owner(&mut socket, &owner(n)).unwrap();
                    }
                });
            }
        });
        let mut socket = Netfilter::open().unwrap();
        let expected: BTreeSet<Owner> = (1..=30).filter(|n| n % 3 != 0).map(owner).collect();
        assert_eq!(owners(&mut socket).unwrap(), expected);
        let have = live::observe(&mut socket, "tweed-cni").unwrap().unwrap();
        assert_eq!(have.chains, cni_base().state().chains);
    });
}

#[test]
fn containers_lose_their_address_outside_their_own_network_only() {
    isolated(|| {
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let pod = Neighbour::new(
            "pod",
            "10.22.0.1/24,fd00:22::1/64",
            "10.22.0.5/24,fd00:22::5/64",
        );
        pod.sh("ip route add default via 10.22.0.1; ip route add default via fd00:22::1");
        // Part of the own network behind another link, so that packets to it are routed.
        let kin = Neighbour::new(
            "kin",
            "10.22.0.129/25,fd00:22::8001/113",
            "10.22.0.200/25,fd00:22::9000/113",
        );
        kin.sh("ip route add default via 10.22.0.129; ip route add default via fd00:22::8001");
        pod.sh("ip route add 10.22.0.128/25 via 10.22.0.1; ip route add fd00:22::8000/113 via fd00:22::1");
        let outside = Neighbour::new(
            "outside",
            "192.0.2.1/24,2001:db8::1/64",
            "192.0.2.2/24,2001:db8::2/64",
        );
        outside.sh("ip route add default via 192.0.2.1; ip route add default via 2001:db8::1");
        let mut socket = Netfilter::open().unwrap();
        let owner = Owner::new("cbr0", "c", "eth0");
        let addrs = nets(&["10.22.0.5/24", "fd00:22::5/64"]);
        masquerade(&mut socket, &owner, &addrs).unwrap();

        for (from, inside, beyond, own, masked) in [
            (
                "10.22.0.5:0",
                "10.22.0.200:7000",
                "192.0.2.2:7000",
                "10.22.0.5",
                "192.0.2.1",
            ),
            (
                "[fd00:22::5]:0",
                "[fd00:22::9000]:7000",
                "[2001:db8::2]:7000",
                "fd00:22::5",
                "2001:db8::1",
            ),
        ] {
            let inside = kin.socket(inside);
            let beyond = outside.socket(beyond);
            let from = pod.socket(from);
            assert_eq!(source_seen(&from, &inside), addr(own));
            assert_eq!(source_seen(&from, &beyond), addr(masked));
        }
        remove_owner(&mut socket, &owner).unwrap();
        let from = pod.socket("10.22.0.5:0");
        let beyond = outside.socket("192.0.2.2:7001");
        assert_eq!(source_seen(&from, &beyond), addr("10.22.0.5"));
    });
}

/// Two attachments with their records in a folder.
fn recorded(socket: &mut Netfilter) -> (tempfile::TempDir, [Owner; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let owners = ["a", "b"].map(|id| Owner::new("cbr0", id, "eth0"));
    for (id, owner, addr) in [
        ("a", &owners[0], "10.22.0.5/16"),
        ("b", &owners[1], "10.22.0.6/16"),
    ] {
        let record = Record {
            network: "cbr0".into(),
            container_id: id.into(),
            ifname: "eth0".into(),
            masquerade: nets(&[addr]),
            bridged: None,
            netns: String::new(),
            routed: None,
        };
        std::fs::write(folder.path().join(file_name(owner)), record.render()).unwrap();
        masquerade(socket, owner, &record.masquerade).unwrap();
    }
    std::fs::write(folder.path().join("garbage.json"), "{").unwrap();
    (folder, owners)
}

#[test]
fn the_agent_puts_back_at_once_what_a_flush_took_from_the_plugins() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let (folder, all) = recorded(&mut socket);
        let mut restorer = Healer::of(folder.path());
        assert_eq!(restorer.restored(), 0);
        for damage in [
            "nft flush ruleset",
            "nft delete table inet tweed-cni",
            "nft flush table inet tweed-cni",
        ] {
            sh(damage);
            assert_eq!(restorer.restored(), 2, "{damage}");
            assert_eq!(owners(&mut socket).unwrap(), all.clone().into(), "{damage}");
            let have = live::observe(&mut socket, "tweed-cni").unwrap();
            assert!(
                have.is_some_and(|have| have.chains == cni_base().state().chains),
                "{damage}"
            );
            assert_eq!(restorer.restored(), 0, "{damage}");
        }
    });
}

#[test]
fn an_attachment_that_is_just_being_removed_is_not_put_back() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let (folder, [gone, stays]) = recorded(&mut socket);
        let mut restorer = Healer::of(folder.path());
        remove_owner(&mut socket, &gone).unwrap();
        assert_eq!(restorer.restored(), 0, "its record may go the next moment");
        std::fs::remove_file(folder.path().join(file_name(&gone))).unwrap();
        assert_eq!(restorer.restored(), 0);
        remove_owner(&mut socket, &stays).unwrap();
        assert_eq!((restorer.restored(), restorer.restored()), (0, 1));
        assert_eq!(owners(&mut socket).unwrap(), BTreeSet::from([stays]));
    });
}
