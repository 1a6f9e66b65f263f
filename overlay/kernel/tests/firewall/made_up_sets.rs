//! The sets and maps that rulesets made up at random look things up in.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use tweed_model::Family;
use tweed_nft::ruleset::{DataType, Set};

pub(crate) fn sets(
    v4: &[u32],
    v6: &[u128],
    pairs: &[(u32, u32, u8)],
    targets: &[(u8, u16, u32, u16)],
) -> std::collections::BTreeMap<String, Set> {
    let pair = |&(addr, net, len): &(u32, u32, u8)| {
        let net = Ipv4Net::new(Ipv4Addr::from(net), len).unwrap();
        let addr = addr.to_be_bytes();
        let ends = [addr, net.network().octets(), addr, net.broadcast().octets()];
        ends.concat().into()
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut seen_flow = std::collections::BTreeSet::new();
    let distinct_flow = |&&(addr, _, _): &&(u32, u32, u8)| seen_flow.insert(addr);
    let distinct = |&&(addr, _, _): &&(u32, u32, u8)| seen.insert(addr);
    let target = |&(proto, port, addr, to): &(u8, u16, u32, u16)| {
        let [high, low] = port.to_be_bytes();
        let key = vec![proto, 0, 0, 0, high, low, 0, 0];
        let [a, b] = to.to_be_bytes();
        let value = [addr.to_be_bytes(), [a, b, 0, 0]].concat();
        (key, value)
    };
    // From a network to any address, a protocol and a range of ports; distinct by its first address.
    let flow_key = |addrs: [[u8; 4]; 2], proto: u8, port: u16| {
        let [high, low] = port.to_be_bytes();
        [addrs.concat(), vec![proto, 0, 0, 0, high, low, 0, 0]].concat()
    };
    let flows = pairs.iter().filter(distinct_flow).map(|&(addr, _, len)| {
        let (from, proto) = (addr.to_be_bytes(), 6 + len % 2 * 11);
        let port = 1000 + u16::from(len);
        [
            flow_key([from, [0; 4]], proto, port),
            flow_key([from, [255; 4]], proto, 2 * port),
        ]
        .concat()
        .into()
    });
    let flows = flows.collect();
    let flow = |addr| vec![addr, addr, DataType::InetProto, DataType::InetService];
    // One value a key.
    let targets: std::collections::BTreeMap<_, _> = targets.iter().map(target).collect();
    let to_v4 = vec![DataType::Ipv4Addr, DataType::InetService];
    let to_v6 = vec![DataType::Ipv6Addr, DataType::InetService];
    let ports = vec![DataType::InetProto, DataType::InetService];
    let map = |key: Vec<DataType>, value: &[DataType]| Set {
        key,
        value: value.to_vec(),
        ..Set::default()
    };
    let with = |addr, parts: &[DataType]| [&[addr], parts].concat();
    let inner = |family, addrs: Vec<Vec<u8>>| Set {
        key: vec![DataType::addr(family), DataType::InnerSource(family)],
        elements: addrs.iter().map(|addr| addr.repeat(2).into()).collect(),
        ..Set::default()
    };
    let pair_set = |addr| Set {
        key: vec![addr, addr],
        interval: true,
        ..Set::default()
    };
    [
        (
            "four",
            Set::of_addrs(Family::V4, v4.iter().map(|a| Ipv4Addr::from(*a).into())),
        ),
        (
            "six",
            Set::of_addrs(Family::V6, v6.iter().map(|a| Ipv6Addr::from(*a).into())),
        ),
        (
            "pairs4",
            Set {
                elements: pairs.iter().filter(distinct).map(pair).collect(),
                ..pair_set(DataType::Ipv4Addr)
            },
        ),
        (
            "inner4",
            inner(
                Family::V4,
                v4.iter().map(|a| a.to_be_bytes().to_vec()).collect(),
            ),
        ),
        (
            "inner6",
            inner(
                Family::V6,
                v6.iter().map(|a| a.to_be_bytes().to_vec()).collect(),
            ),
        ),
        ("pairs6", pair_set(DataType::Ipv6Addr)),
        (
            "ports4",
            Set {
                elements: targets
                    .into_iter()
                    .map(|(k, v)| [k, v].concat().into())
                    .collect(),
                ..map(ports.clone(), &to_v4)
            },
        ),
        (
            "flows4",
            Set {
                interval: true,
                elements: flows,
                ..map(flow(DataType::Ipv4Addr), &[])
            },
        ),
        (
            "flows6",
            Set {
                interval: true,
                ..map(flow(DataType::Ipv6Addr), &[])
            },
        ),
        (
            "led4",
            Set {
                interval: true,
                ..map(flow(DataType::Ipv4Addr), &to_v4)
            },
        ),
        (
            "led6",
            Set {
                interval: true,
                ..map(flow(DataType::Ipv6Addr), &to_v6)
            },
        ),
        ("ports6", map(ports.clone(), &to_v6)),
        ("own4", map(ports.clone(), &[DataType::Ipv4Addr])),
        (
            "own-hosts4",
            map(with(DataType::Ipv4Addr, &ports), &[DataType::Ipv4Addr]),
        ),
        ("hosts4", map(with(DataType::Ipv4Addr, &ports), &to_v4)),
        ("hosts6", map(with(DataType::Ipv6Addr, &ports), &to_v6)),
    ]
    .map(|(name, set)| (name.to_owned(), set))
    .into()
}
