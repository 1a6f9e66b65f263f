//! The part of the plugins' table that all host ports share: empty maps, and the rules that look them up.

use std::net::{IpAddr, Ipv6Addr};

use tweed_model::Family;
use tweed_nft::rule::{rule, to};
use tweed_nft::ruleset::{
    Chain, ChainKind, DataType, Hook, HookPoint, L4Proto, MapKey, Match, Rule, Ruleset, Set,
    Verdict,
};

use super::loopback::add_loopback;
use super::names::{MASQUERADE_MARK, addr_port_map, flow_map, flow_set, loopback4, port_map};

/// nft's `dstnat` priority.
const DESTINATION_NAT: i32 = -100;

/// The chain that looks host ports up.
const LOOKUP: &str = "hostports";

/// The rule that masquerades what is marked: the first of the table's chain for that.
pub(crate) fn masquerade_marked() -> Rule {
    let mark = Match::Mark {
        value: MASQUERADE_MARK,
        mask: MASQUERADE_MARK,
    };
    let verdict = Verdict::Masquerade { fully_random: true };
    rule(
        vec![mark, Match::Translated],
        verdict,
        "host ports, where the answer must come back to us",
    )
}

/// Adds the part of the table that host ports need.
pub(crate) fn add_base(ruleset: &mut Ruleset) {
    for family in Family::BOTH {
        let addr = DataType::addr(family);
        let service = [DataType::InetProto, DataType::InetService];
        let target = vec![addr, DataType::InetService];
        let map = |key: Vec<DataType>| Set {
            key,
            value: target.clone(),
            ..Set::default()
        };
        let flows = Set {
            key: [[addr, addr], service].concat(),
            interval: true,
            ..Set::default()
        };
        let led = Set {
            value: target.clone(),
            ..flows.clone()
        };
        let with_addr = [&[addr], &service[..]].concat();
        let sets = &mut ruleset.sets;
        sets.insert(port_map(family).to_owned(), map(service.to_vec()));
        sets.insert(addr_port_map(family).to_owned(), map(with_addr));
        sets.insert(flow_set(family).to_owned(), flows);
        sets.insert(flow_map(family).to_owned(), led);
    }
    let (nat, filter) = (ChainKind::Nat, ChainKind::Filter);
    let chains = [
        (
            LOOKUP,
            None,
            Family::BOTH.into_iter().flat_map(lookup).collect(),
        ),
        (
            "prerouting",
            Some((nat, HookPoint::Prerouting, DESTINATION_NAT)),
            from_outside().to_vec(),
        ),
        (
            "output",
            Some((nat, HookPoint::Output, DESTINATION_NAT)),
            from_host().to_vec(),
        ),
        (
            "loopback",
            Some((filter, HookPoint::Input, 0)),
            loopback_guard().to_vec(),
        ),
    ];
    add_loopback(ruleset);
    for (name, hook, rules) in chains {
        let hook = hook.map(|(kind, point, priority)| Hook {
            kind,
            point,
            priority,
            drop: false,
        });
        ruleset
            .chains
            .insert(name.to_owned(), Chain { hook, rules });
    }
}

fn lookup(family: Family) -> Vec<Rule> {
    let flow = Match::FlowInSet {
        family,
        set: flow_set(family).to_owned(),
    };
    let dnat = |key, map: &str| Verdict::DnatMap {
        family,
        key,
        map: map.to_owned(),
    };
    let mut rules = vec![
        rule(vec![flow], Verdict::Mark(MASQUERADE_MARK), "to masquerade"),
        rule(
            Vec::new(),
            dnat(MapKey::AddrProtoPort, addr_port_map(family)),
            "ports of one address",
        ),
        rule(
            Vec::new(),
            dnat(MapKey::ProtoPort, port_map(family)),
            "ports of all addresses",
        ),
    ];
    // nft reads back a map of ranges only behind a protocol.
    rules.extend([L4Proto::Tcp, L4Proto::Udp, L4Proto::Sctp].map(|protocol| {
        rule(
            vec![Match::L4Proto(protocol)],
            dnat(MapKey::Flow, flow_map(family)),
            "ports under conditions",
        )
    }));
    rules
}

/// A port of 127.0.0.1 is for this host alone. The kernel would let a neighbour's packet to it pass, since it looks at
/// the destination after the translation.
fn from_outside() -> [Rule; 2] {
    [
        rule(
            vec![to(loopback4().into())],
            Verdict::Return,
            "loopback is reached from this host alone",
        ),
        rule(
            vec![Match::LocalDestination],
            Verdict::Jump(LOOKUP.to_owned()),
            "for this host",
        ),
    ]
}

/// What comes back to ::1 from a container the kernel drops, whatever its address was on the wire (seen on Linux 6.18);
/// so a program of this host that listens on ::1 keeps its port.
fn from_host() -> [Rule; 2] {
    [
        rule(
            vec![to(IpAddr::from(Ipv6Addr::LOCALHOST).into())],
            Verdict::Return,
            "answers to it would not come back",
        ),
        rule(
            vec![Match::LocalDestination],
            Verdict::Jump(LOOKUP.to_owned()),
            "from this host to itself",
        ),
    ]
}

/// Where other programs have set `route_localnet`, the kernel takes packets to 127.0.0.0/8 from containers. Only answers
/// are meant.
fn loopback_guard() -> [Rule; 2] {
    let strange = || Match::InInterface {
        not: true,
        name: "lo".to_owned(),
    };
    [
        rule(
            vec![strange(), to(loopback4().into()), Match::Translated],
            Verdict::Accept,
            "answers to this host",
        ),
        rule(
            vec![strange(), to(loopback4().into())],
            Verdict::Drop,
            "to this host's loopback from elsewhere",
        ),
    ]
}
