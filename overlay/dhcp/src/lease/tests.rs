use tweed_model::Mac;

use super::*;
use crate::message::{Kind, Options};

fn ack(more: &[(u8, &[u8])]) -> Message {
    let mut options: Options = [
        (code::SERVER, vec![10, 0, 0, 1]),
        (code::SUBNET_MASK, vec![255, 255, 255, 0]),
        (code::LEASE_TIME, vec![0, 0, 0, 80]),
    ]
    .into();
    for (code, value) in more {
        match value.is_empty() {
            true => options.remove(code),
            false => options.insert(*code, value.to_vec()),
        };
    }
    Message {
        kind: Kind::Ack,
        xid: 1,
        secs: 0,
        broadcast: false,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: [10, 0, 0, 9].into(),
        hardware: Mac([2, 0, 0, 0, 0, 1]),
        options,
    }
}

fn read(more: &[(u8, &[u8])]) -> Result<Lease, Unusable> {
    Lease::read(&ack(more), Time::from_secs(100))
}

fn shown(lease: &Lease) -> Vec<String> {
    let routes = lease.routes.iter();
    let text = |route: &Route| match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.dst),
        None => route.dst.to_string(),
    };
    routes.map(text).collect()
}

#[test]
fn times_are_the_servers_or_half_and_seven_eighths() {
    let times = |more: &[(u8, &[u8])]| {
        let lease = read(more).unwrap();
        let all = [lease.renewal(), lease.rebinding(), lease.end()];
        all.map(|time| time.map(|time| time.as_secs() - 100))
    };
    assert_eq!(times(&[]), [Some(40), Some(70), Some(80)]);
    let given: [(u8, &[u8]); 2] = [
        (code::RENEWAL_TIME, &[0, 0, 0, 5]),
        (code::REBINDING_TIME, &[0, 0, 0, 9]),
    ];
    assert_eq!(times(&given), [Some(5), Some(9), Some(80)]);
    let absurd: [(u8, &[u8]); 2] = [
        (code::RENEWAL_TIME, &[0, 0, 0, 79]),
        (code::REBINDING_TIME, &[0, 0, 0, 81]),
    ];
    assert_eq!(times(&absurd), [Some(40), Some(70), Some(80)]);
    assert_eq!(times(&[(code::LEASE_TIME, &[255; 4])]), [None; 3]);
}

#[test]
fn an_answer_without_what_every_lease_needs_is_of_no_use() {
    let mask = |mask: [u8; 4]| Unusable::Mask(mask.into());
    let rows: [(u8, &[u8], Unusable); 7] = [
        (code::SERVER, &[], Unusable::NoServer),
        (code::SUBNET_MASK, &[], Unusable::NoMask),
        (code::SUBNET_MASK, &[255, 0, 255, 0], mask([255, 0, 255, 0])),
        (code::SUBNET_MASK, &[0; 4], mask([0; 4])),
        (code::LEASE_TIME, &[], Unusable::NoTime),
        (code::LEASE_TIME, &[0; 4], Unusable::Short(0)),
        (code::LEASE_TIME, &[0, 0, 1], Unusable::NoTime),
    ];
    for (code, value, why) in rows {
        assert_eq!(read(&[(code, value)]), Err(why));
    }
    for address in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [10, 0, 0, 0],
        [10, 0, 0, 255],
    ] {
        let mut message = ack(&[]);
        message.yiaddr = address.into();
        let why = Unusable::Address(address.into());
        assert_eq!(Lease::read(&message, Time::ZERO), Err(why));
    }
}

#[test]
fn routes_are_those_of_option_33_and_the_router() {
    let lease = read(&[
        (code::ROUTER, &[10, 0, 0, 1, 10, 0, 0, 2]),
        (
            code::STATIC_ROUTE,
            &[
                172, 16, 5, 0, 10, 0, 0, 3, 192, 168, 9, 0, 10, 0, 0, 4, 0, 0, 0, 0, 10, 0, 0, 5,
            ],
        ),
    ]);
    let lease = lease.unwrap();
    assert_eq!(lease.gateway, Some([10, 0, 0, 1].into()));
    assert_eq!(
        shown(&lease),
        [
            "172.16.0.0/16 via 10.0.0.3",
            "192.168.9.0/24 via 10.0.0.4",
            "0.0.0.0/0 via 10.0.0.1"
        ]
    );
}

#[test]
fn classless_routes_replace_them_unless_they_are_malformed() {
    let router: (u8, &[u8]) = (code::ROUTER, &[10, 0, 0, 1]);
    let classless = |value: &[u8]| shown(&read(&[router, (code::CLASSLESS_ROUTE, value)]).unwrap());
    let value = [
        0, 10, 0, 0, 7, 24, 192, 168, 1, 0, 0, 0, 0, 9, 10, 255, 10, 0, 0, 8,
    ];
    assert_eq!(
        classless(&value),
        [
            "0.0.0.0/0 via 10.0.0.7",
            "192.168.1.0/24",
            "10.128.0.0/9 via 10.0.0.8"
        ]
    );
    for malformed in [&value[..7], &[33, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[8, 10]] {
        assert_eq!(classless(malformed), ["0.0.0.0/0 via 10.0.0.1"]);
    }
}

#[test]
fn a_domain_is_a_name_and_name_servers_are_addresses_of_hosts() {
    let domain = |text: &[u8]| read(&[(code::DOMAIN_NAME, text)]).unwrap().domain;
    assert_eq!(domain(b"example.com\0"), "example.com");
    assert_eq!(domain(b"x\nnameserver 192.0.2.1"), "");
    assert_eq!(domain(&[b'a'; 254]), "");
    assert_eq!(domain(&[0xff, 0xfe]), "");
    let lease = read(&[(code::NAME_SERVER, &[10, 0, 0, 2, 0, 0, 0, 0, 9, 9, 9, 9, 1])]);
    let servers = lease.unwrap().name_servers;
    assert_eq!(servers, [Ipv4Addr::new(10, 0, 0, 2), [9, 9, 9, 9].into()]);
}
