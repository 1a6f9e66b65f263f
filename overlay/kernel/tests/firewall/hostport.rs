//! Host ports in the plugins' table: many processes at once, clashes, and the agent that puts them back.

use std::net::IpAddr;

use tweed_attach::live::{
    self, Missing, PublishError, masquerade, publish, published, publishers, remove_owner,
    unpublish,
};
use tweed_attach::record::{PortRecord, Record, file_name, port_file_name};
use tweed_attach::{Owner, PortMapping, PortMasquerade, Publication, cni_base};
use tweed_netlink::Netfilter;
use tweed_nft::ruleset::L4Proto;

use crate::lab::{Healer, isolated, nft, sh};

pub(crate) fn owner(n: u8) -> Owner {
    Owner::new("cbr0", &format!("container{n}"), "eth0")
}

/// TCP ports of a container, all to its port 80.
pub(crate) fn ports(
    n: u8,
    host_addr: Option<&str>,
    ports: impl IntoIterator<Item = u16>,
) -> Publication {
    let host_addr: Option<IpAddr> = host_addr.map(|addr| addr.parse().unwrap());
    let mapping = |host_port| PortMapping {
        protocol: L4Proto::Tcp,
        host_addr,
        host_port,
        container_port: 80,
    };
    Publication {
        addresses: [format!("10.22.0.{n}/16"), format!("fd00:22::{n}/64")]
            .map(|addr| addr.parse().unwrap())
            .into(),
        ports: ports.into_iter().map(mapping).collect(),
        masquerade: PortMasquerade::Needed,
        host_address: Some([10, 22, 0, 1].into()),
        ..Publication::default()
    }
}

pub(crate) fn alive(_: &Owner) -> bool {
    false
}

#[test]
fn nft_reads_the_table_in_the_words_that_we_print() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        publish(&mut socket, &owner(1), &ports(1, None, [8080]), alive).unwrap();
        unpublish(&mut socket, &owner(1)).unwrap();
        let ours = sh("nft list table inet tweed-cni");
        nft(&format!("delete table inet tweed-cni\n{}", cni_base()));
        let theirs = sh("nft list table inet tweed-cni");
        let comment = "\tcomment \"written by tweed; changes by hand are undone\"\n";
        assert_eq!(ours.replace(comment, ""), theirs);
    });
}

#[test]
fn ports_come_change_and_go_and_leave_the_owners_masquerading_alone() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let (owner, first) = (owner(1), ports(1, None, [8080, 8081]));
        unpublish(&mut socket, &owner).unwrap();
        masquerade(&mut socket, &owner, &first.addresses).unwrap();
        for wanted in [first.clone(), first, ports(1, Some("192.0.2.1"), [8081])] {
            publish(&mut socket, &owner, &wanted, alive).unwrap();
            assert_eq!(published(&mut socket, &owner, &wanted).unwrap(), None);
        }
        let table = sh("nft list table inet tweed-cni");
        assert!(!table.contains("8080"), "{table}");
        for _ in 0..2 {
            unpublish(&mut socket, &owner).unwrap();
            assert!(publishers(&mut socket).unwrap().is_empty());
        }
        assert_eq!(live::owners(&mut socket).unwrap(), [owner].into());
    });
}

#[test]
fn what_is_missing_is_named() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let wanted = ports(1, None, [8080]);
        let look = |socket: &mut Netfilter| published(socket, &owner(1), &wanted).unwrap();
        assert_eq!(look(&mut socket), Some(Missing::Rules));
        for (damage, expected) in [
            (
                "flush chain inet tweed-cni prerouting",
                Missing::Rules.to_string(),
            ),
            (
                "delete element inet tweed-cni hostport6 { tcp . 8080 }",
                "host port tcp [::]:8080 does not lead to the container".to_owned(),
            ),
        ] {
            publish(&mut socket, &owner(1), &wanted, alive).unwrap();
            assert_eq!(look(&mut socket), None);
            nft(damage);
            assert_eq!(look(&mut socket).unwrap().to_string(), expected);
        }
    });
}

#[test]
fn thirty_at_once_get_their_own_ports_and_one_of_them_the_common_one() {
    isolated(|| {
        let wanted = |n: u8| match n % 2 {
            0 => ports(n, None, [8000, 9000 + u16::from(n)]),
            _ => ports(n, Some("192.0.2.1"), [8000, 9000 + u16::from(n)]),
        };
        let done: Vec<(u8, Result<(), PublishError>)> = std::thread::scope(|scope| {
            let start = |n| {
                scope.spawn(move || {
                    let mut socket = Netfilter::open().unwrap();
                    (n, publish(&mut socket, &owner(n), &wanted(n), alive))
                })
            };
            let threads: Vec<_> = (1..=30).map(start).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut socket = Netfilter::open().unwrap();
        let winners: Vec<u8> = done
            .iter()
            .filter(|(_, r)| r.is_ok())
            .map(|(n, _)| *n)
            .collect();
        let &[winner] = &winners[..] else {
            panic!("{done:?}");
        };
        for (_, result) in done {
            match result {
                Ok(()) => {}
                Err(PublishError::Taken { claim, holder }) => {
                    assert_eq!((claim.host_port, holder), (8000, owner(winner)));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(publishers(&mut socket).unwrap(), [owner(winner)].into());
        assert_eq!(
            published(&mut socket, &owner(winner), &wanted(winner)).unwrap(),
            None
        );
    });
}

#[test]
fn a_thousand_ports_go_in_and_out_quickly() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        // Every second one, so that none is in a row.
        let wanted = ports(1, None, (0..1000).map(|n| 10_000 + 2 * n));
        let start = std::time::Instant::now();
        publish(&mut socket, &owner(1), &wanted, alive).unwrap();
        assert_eq!(published(&mut socket, &owner(1), &wanted).unwrap(), None);
        publish(&mut socket, &owner(2), &ports(2, None, [10_001]), alive).unwrap();
        unpublish(&mut socket, &owner(1)).unwrap();
        assert_eq!(publishers(&mut socket).unwrap(), [owner(2)].into());
        let taken = start.elapsed();
        assert!(taken.as_secs() < 5, "{taken:?}");
    });
}

/// Two containers with ports, one of them masqueraded as well, and their records in a folder.
fn recorded(socket: &mut Netfilter) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in [1, 2] {
        let record = port_record(n, 8080 + u16::from(n));
        publish(socket, &owner(n), &record.publication, alive).unwrap();
        std::fs::write(
            folder.path().join(port_file_name(&owner(n))),
            record.render(),
        )
        .unwrap();
    }
    let record = Record {
        network: "cbr0".into(),
        container_id: "container1".into(),
        ifname: "eth0".into(),
        masquerade: vec!["10.22.0.1/16".parse().unwrap()],
        bridged: None,
        netns: String::new(),
        routed: None,
    };
    masquerade(socket, &owner(1), &record.masquerade).unwrap();
    std::fs::write(folder.path().join(file_name(&owner(1))), record.render()).unwrap();
    folder
}

fn port_record(n: u8, port: u16) -> PortRecord {
    PortRecord {
        network: "cbr0".into(),
        container_id: format!("container{n}"),
        ifname: "eth0".into(),
        netns: String::new(),
        publication: ports(n, None, [port]),
    }
}

#[test]
fn the_agent_puts_back_ports_and_masquerading_after_a_flush_and_single_elements_after_two_looks() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let folder = recorded(&mut socket);
        let mut restorer = Healer::of(folder.path());
        for (damage, looks) in [
            ("flush ruleset", vec![3, 0]),
            ("flush table inet tweed-cni", vec![3, 0]),
            ("delete table inet tweed-cni", vec![3, 0]),
            ("flush chain inet tweed-cni hostports", vec![3, 0]),
            ("flush set inet tweed-cni hairpin4", vec![0, 2, 0]),
            (
                "delete element inet tweed-cni hostport6 { tcp . 8081 }",
                vec![0, 1, 0],
            ),
            (
                "delete element inet tweed-cni own4 { 10.22.0.1 . 10.22.0.0/16 }",
                vec![0, 1, 0],
            ),
            ("add chain inet tweed-cni somebody_else", vec![0, 0]),
        ] {
            assert_eq!(restorer.restored(), 0);
            nft(damage);
            let restored: Vec<usize> = looks.iter().map(|_| restorer.restored()).collect();
            assert_eq!(restored, looks, "{damage}");
            for n in [1, 2] {
                let wanted = port_record(n, 8080 + u16::from(n)).publication;
                assert_eq!(
                    published(&mut socket, &owner(n), &wanted).unwrap(),
                    None,
                    "{damage}"
                );
            }
        }
    });
}

#[test]
fn the_agent_gives_no_port_to_one_whose_port_another_has_by_now() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let folder = recorded(&mut socket);
        let mut restorer = Healer::of(folder.path());
        remove_owner(&mut socket, &owner(2)).unwrap();
        let theirs = ports(3, None, [8082]);
        publish(&mut socket, &owner(3), &theirs, alive).unwrap();
        let looks = [0; 3].map(|_| restorer.look());
        assert_eq!(looks.each_ref().map(|(restored, _)| *restored), [0; 3]);
        let refused = "host port tcp 0.0.0.0:8082 is already taken by cbr0/container3/eth0";
        assert!(looks[2].1[0].contains(refused), "{looks:?}");
        assert_eq!(published(&mut socket, &owner(3), &theirs).unwrap(), None);
        // The namespace of the dead container is gone: the next ADD gets all of its ports.
        let is_dead = |holder: &Owner| *holder == owner(1);
        publish(
            &mut socket,
            &owner(4),
            &ports(4, Some("192.0.2.1"), [8081]),
            is_dead,
        )
        .unwrap();
        assert_eq!(
            publishers(&mut socket).unwrap(),
            [owner(3), owner(4)].into()
        );
    });
}
