//! Host ports by their keys: what a container's ports cost does not depend on those of others, and nothing is missed by
//! it.

use tweed_attach::live::{
    PublishError, publish, publish_new, published, publishers, unpublish_recorded,
};
use tweed_attach::{Owner, Publication};
use tweed_netlink::Netfilter;

use crate::hostport::{alive, owner, ports};
use crate::lab::{isolated, nft, sh};

/// The requests that something takes.
fn requests(socket: &mut Netfilter, act: impl FnOnce(&mut Netfilter)) -> u32 {
    let before = socket.requests();
    act(socket);
    socket.requests() - before
}

fn add(socket: &mut Netfilter, n: u8, wanted: &Publication) -> Result<(), PublishError> {
    publish_new(socket, &owner(n), wanted, alive)
}

#[test]
fn neither_new_ports_nor_recorded_ones_that_go_make_the_table_be_read() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let wanted = ports(1, None, [8080]);
        add(&mut socket, 2, &ports(2, None, 10_000..10_400)).unwrap();
        let by_key = requests(&mut socket, |socket| add(socket, 1, &wanted).unwrap());
        let gone = requests(&mut socket, |socket| {
            unpublish_recorded(socket, &owner(1), &wanted).unwrap();
        });
        assert_eq!(publishers(&mut socket).unwrap(), [owner(2)].into());
        let whole = requests(&mut socket, |socket| {
            publish(socket, &owner(1), &wanted, alive).unwrap();
        });
        // A list of elements a set: four of ports of addresses instead of all fourteen, and none.
        assert_eq!(whole - by_key, 10);
        assert!(gone < by_key, "{gone} {by_key}");
        let missing = published(&mut socket, &owner(1), &wanted).unwrap();
        assert_eq!(missing, None);
    });
}

#[test]
fn a_new_port_that_is_taken_under_another_key_or_the_same_is_refused() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let (all, one) = (None, Some("192.0.2.1"));
        let mut under_conditions = ports(2, None, [8080]);
        let part = tweed_attach::hostport::Part::Source("192.0.2.0/24".parse().unwrap());
        let condition = tweed_attach::hostport::Condition { not: false, part };
        under_conditions.conditions.v4 = Some(vec![condition]);
        under_conditions.addresses.truncate(1);
        let plain = |host_addr| ports(2, host_addr, [8080]);
        for (there, wanted) in [
            (plain(all), ports(1, all, [8079, 8080])),
            (plain(all), ports(1, one, [8080])),
            (plain(one), ports(1, all, [8080])),
            (plain(one), ports(1, one, [8080])),
            (under_conditions.clone(), ports(1, all, [8080])),
            (under_conditions.clone(), ports(1, one, [8080])),
        ] {
            add(&mut socket, 2, &there).unwrap();
            let before = sh("nft list table inet tweed-cni");
            match add(&mut socket, 1, &wanted) {
                Err(PublishError::Taken { claim, holder }) => {
                    assert_eq!((claim.host_port, holder), (8080, owner(2)));
                }
                other => panic!("{there:?} {wanted:?} {other:?}"),
            }
            assert_eq!(sh("nft list table inet tweed-cni"), before);
            // And the other way round.
            unpublish_recorded(&mut socket, &owner(2), &there).unwrap();
            add(&mut socket, 1, &wanted).unwrap();
            let refused = add(&mut socket, 2, &there);
            assert!(
                matches!(refused, Err(PublishError::Taken { .. })),
                "{refused:?}"
            );
            unpublish_recorded(&mut socket, &owner(1), &wanted).unwrap();
            assert!(publishers(&mut socket).unwrap().is_empty());
        }
    });
}

#[test]
fn ports_that_are_not_as_recorded_go_too_and_those_of_others_stay() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let (recorded, other) = (ports(1, None, [8080, 8081]), ports(1, None, [9090]));
        let remove = |socket: &mut Netfilter| {
            unpublish_recorded(socket, &owner(1), &recorded).unwrap();
        };
        // Others than recorded, in part or at all.
        publish(&mut socket, &owner(1), &other, alive).unwrap();
        remove(&mut socket);
        assert!(publishers(&mut socket).unwrap().is_empty());
        add(&mut socket, 1, &recorded).unwrap();
        nft("delete element inet tweed-cni hostport4 { tcp . 8081 }");
        remove(&mut socket);
        assert!(publishers(&mut socket).unwrap().is_empty());
        // One of them another's by now.
        add(&mut socket, 1, &recorded).unwrap();
        let theirs = ports(2, None, [8081]);
        let is_dead = |holder: &Owner| *holder == owner(1);
        publish_new(&mut socket, &owner(2), &theirs, is_dead).unwrap();
        remove(&mut socket);
        assert_eq!(published(&mut socket, &owner(2), &theirs).unwrap(), None);
        assert_eq!(publishers(&mut socket).unwrap(), [owner(2)].into());
        // No table.
        nft("delete table inet tweed-cni");
        remove(&mut socket);
        assert!(publishers(&mut socket).unwrap().is_empty());
    });
}

#[test]
fn ports_that_are_there_already_are_put_right_as_if_they_were_not_new() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        add(&mut socket, 1, &ports(1, Some("192.0.2.1"), [8080])).unwrap();
        add(&mut socket, 1, &ports(1, None, [8080, 8081])).unwrap();
        let wanted = ports(1, None, [8081]);
        add(&mut socket, 1, &wanted).unwrap();
        assert_eq!(published(&mut socket, &owner(1), &wanted).unwrap(), None);
        let table = sh("nft list table inet tweed-cni");
        assert!(!table.contains("8080"), "{table}");
    });
}
