//! 127.0.0.1 as a way to host ports. The kernel lets no packet from there leave by another interface than `lo`, and no
//! answer to it in, unless `route_localnet` opens the host's loopback to containers. So the packet's source is written
//! over before connection tracking and routing see it, with the host's address towards the container; and the answer's
//! destination after both. Of a program that has bound another address of 127.0.0.0/8, packets are left as they are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use tweed_model::Family;
use tweed_nft::Element;
use tweed_nft::rule::{from, rule};
use tweed_nft::ruleset::{
    Chain, ChainKind, DataType, Hook, HookPoint, MapKey, Match, Rule, Ruleset, Set, Verdict,
    addr_bytes,
};

use super::claim::{Claim, keys, padded, service};
use super::conditions::{Condition, pairs};
use super::names::{LOOPBACK_ADDR_MAP, LOOPBACK_MAP, flow_map, loopback4};

/// Before connection tracking: nft's `raw`.
const BEFORE_TRACKING: i32 = -300;
/// After the translation of answers.
const AFTER_TRANSLATION: i32 = 150;

/// Adds maps and rules.
pub(super) fn add_loopback(ruleset: &mut Ruleset) {
    let service = [DataType::InetProto, DataType::InetService];
    let with_addr = [&[DataType::Ipv4Addr], &service[..]].concat();
    for (name, key) in [
        (LOOPBACK_MAP, service.to_vec()),
        (LOOPBACK_ADDR_MAP, with_addr),
    ] {
        let map = Set {
            key,
            value: vec![DataType::Ipv4Addr],
            ..Set::default()
        };
        ruleset.sets.insert(name.to_owned(), map);
    }
    let filter = |point, priority| Some(Hook::new(ChainKind::Filter, point, priority));
    let chains = [
        (
            "loopback-out",
            filter(HookPoint::Output, BEFORE_TRACKING),
            out().to_vec(),
        ),
        (
            "loopback-back",
            filter(HookPoint::Input, AFTER_TRANSLATION),
            vec![back()],
        ),
    ];
    for (name, hook, rules) in chains {
        let chain = Chain { hook, rules };
        ruleset.chains.insert(name.to_owned(), chain);
    }
}

/// After the first the source is another one, so that the second passes it by.
fn out() -> [Rule; 2] {
    let lookup = |key, map: &str, comment| {
        let leaves = Match::OutInterface {
            not: false,
            name: "lo".to_owned(),
        };
        let verdict = Verdict::WriteSource {
            key,
            map: map.to_owned(),
        };
        let source = from(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        rule(vec![leaves, source], verdict, comment)
    };
    [
        lookup(
            MapKey::AddrProtoPort,
            LOOPBACK_ADDR_MAP,
            "to ports of one address",
        ),
        lookup(MapKey::ProtoPort, LOOPBACK_MAP, "to ports of all addresses"),
    ]
}

fn back() -> Rule {
    let strange = Match::InInterface {
        not: true,
        name: "lo".to_owned(),
    };
    rule(
        vec![strange, Match::AnswerOf(loopback4())],
        Verdict::WriteDestination(Ipv4Addr::LOCALHOST),
        "answers to a program on 127.0.0.1",
    )
}

/// Which of the addresses 127.0.0.0/8 lead to a port.
enum Destinations {
    All,
    One(Ipv4Addr),
}

/// The elements by which packets from 127.0.0.1 to these claims get this source, under these conditions.
pub(super) fn elements(
    source: Ipv4Addr,
    conditions: Option<&Vec<Condition>>,
    claims: &BTreeMap<Claim, (IpNet, u16)>,
    comment: &Option<String>,
) -> Vec<(&'static str, Element)> {
    let mut elements = Vec::new();
    for (claim, (address, port)) in claims {
        let none = Vec::new();
        let pairs = pairs(
            conditions.unwrap_or(&none),
            claim.protocol,
            claim.family,
            claim.host_addr,
        );
        let Some(destinations) = destinations(claim, &pairs) else {
            continue;
        };
        let service = service(claim.protocol, claim.host_port);
        let (map, key) = match destinations {
            Destinations::All => (LOOPBACK_MAP, service.clone()),
            Destinations::One(addr) => {
                let key = [addr_bytes(addr.into()), service.clone()].concat();
                (LOOPBACK_ADDR_MAP, key)
            }
        };
        let element = |key, key_end, value| Element {
            key,
            key_end,
            value: Some(value),
            comment: comment.clone(),
        };
        elements.push((map, element(key, None, source.octets().to_vec())));
        // Conditions that hold for 127.0.0.1 need not hold for what is written over it.
        let source = IpAddr::from(source);
        if conditions.is_some() && !pairs.iter().any(|(sources, _)| holds(*sources, source)) {
            let [first, last] = keys(([source; 2], destinations.ends()), &service, &service);
            let value = [addr_bytes(address.addr()), padded(*port)].concat();
            let map = flow_map(claim.family);
            elements.push((map, element(first, Some(last), value)));
        }
    }
    elements
}

/// Conditions count if they hold for 127.0.0.1 as source, and for one address or all as destination.
fn destinations(claim: &Claim, pairs: &[([IpAddr; 2], [IpAddr; 2])]) -> Option<Destinations> {
    let from_loopback = |(sources, _): &&_| holds(*sources, Ipv4Addr::LOCALHOST.into());
    let mut pairs = pairs.iter().filter(from_loopback);
    let all = Destinations::All.ends();
    pairs.find_map(|(_, destinations)| match destinations {
        _ if claim.family == Family::V6 => None,
        [IpAddr::V4(first), last] if first == last && first.is_loopback() => {
            Some(Destinations::One(*first))
        }
        ends => all
            .iter()
            .all(|end| holds(*ends, *end))
            .then_some(Destinations::All),
    })
}

fn holds([first, last]: [IpAddr; 2], addr: IpAddr) -> bool {
    (first..=last).contains(&addr)
}

impl Destinations {
    fn ends(&self) -> [IpAddr; 2] {
        let net = loopback4();
        match self {
            Self::All => [net.network().into(), net.broadcast().into()],
            Self::One(addr) => [IpAddr::from(*addr); 2],
        }
    }
}
