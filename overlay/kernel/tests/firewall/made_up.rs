//! Rulesets and rules, made up at random.

use std::net::SocketAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use tweed_model::Family;
use tweed_nft::Ruleset;
use tweed_nft::ruleset::{
    Chain, ChainKind, Hook, HookPoint, L4Proto, MapKey, Match, Rule, Side, Verdict,
};

use crate::made_up_sets::sets;

/// What a chain's place allows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Filter,
    SourceNat,
    DestinationNat,
}

impl Place {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::Filter),
            Just(Self::SourceNat),
            Just(Self::DestinationNat)
        ]
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Family4or6(pub(crate) Family);

impl Family4or6 {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![Just(Self(Family::V4)), Just(Self(Family::V6))]
    }
}

pub(crate) fn ruleset() -> impl Strategy<Value = Ruleset> {
    let rules = |place| {
        vec(
            Family4or6::any().prop_flat_map(move |family| rule(family.0, place)),
            0..6,
        )
    };
    let hook = (-300..300i32, any::<bool>());
    (
        (
            rules(Place::Filter),
            rules(Place::Filter),
            rules(Place::SourceNat),
        ),
        rules(Place::DestinationNat),
        hook,
        vec(any::<u32>(), 0..8),
        vec(any::<u128>(), 0..8),
        vec((any::<u32>(), any::<u32>(), 1..=32u8), 0..6),
        vec((1..255u8, any::<u16>(), any::<u32>(), any::<u16>()), 0..6),
    )
        .prop_map(
            |((input, sub, snat), dnat, (priority, drop), v4, v6, pairs, targets)| {
                let base = |kind, point, priority, drop, rules| {
                    let hook = Hook {
                        kind,
                        point,
                        priority,
                        drop,
                    };
                    Chain {
                        hook: Some(hook),
                        rules,
                    }
                };
                // A chain that is jumped to must not jump on in a circle.
                let sub = Chain {
                    hook: None,
                    rules: sub.into_iter().filter(|rule| !jumps(rule)).collect(),
                };
                let (filter, nat) = (ChainKind::Filter, ChainKind::Nat);
                let chains = [
                    (
                        "a-input",
                        base(filter, HookPoint::Input, priority, drop, input),
                    ),
                    (
                        "b-snat",
                        base(nat, HookPoint::Postrouting, 100, false, snat),
                    ),
                    (
                        "c-dnat",
                        base(nat, HookPoint::Prerouting, -100, false, dnat),
                    ),
                    ("sub", sub),
                ];
                Ruleset {
                    table: "made-up".to_owned(),
                    sets: sets(&v4, &v6, &pairs, &targets),
                    chains: chains.map(|(name, chain)| (name.to_owned(), chain)).into(),
                    ..Ruleset::default()
                }
            },
        )
}

fn jumps(rule: &Rule) -> bool {
    matches!(rule.verdict, Verdict::Jump(_) | Verdict::Goto(_))
}

fn of_family(name: &str, family: Family) -> String {
    match (name, family) {
        ("", Family::V4) => "four".to_owned(),
        ("", Family::V6) => "six".to_owned(),
        (name, Family::V4) => format!("{name}4"),
        (name, Family::V6) => format!("{name}6"),
    }
}

pub(crate) fn rule(family: Family, place: Place) -> impl Strategy<Value = Rule> {
    let comment = "[ -!#-\\[\\]-~]{0,140}";
    (proto(), vec(any::<u8>(), 3)).prop_flat_map(move |(proto, _)| {
        (
            vec(condition(family, proto, place), 0..4),
            any::<bool>(),
            verdict(family, place),
            comment,
        )
            .prop_map(move |(mut matches, counter, verdict, comment)| {
                // We say once which protocol it is; nft does, if the text does. It needs it for a port.
                let port = matches
                    .iter()
                    .any(|part| matches!(part, Match::DestPort { .. } | Match::SourcePort { .. }));
                let says = matches.contains(&Match::L4Proto(proto));
                matches.retain(|part| *part != Match::L4Proto(proto));
                let needs = matches!(
                    verdict,
                    Verdict::Dnat(_)
                        | Verdict::DnatMap {
                            key: MapKey::Flow,
                            ..
                        }
                );
                if !port && (says || needs) {
                    matches.insert(0, Match::L4Proto(proto));
                }
                Rule {
                    matches,
                    counter,
                    verdict,
                    comment: comment.trim().to_owned(),
                }
            })
    })
}

fn proto() -> impl Strategy<Value = L4Proto> {
    prop_oneof![Just(L4Proto::Tcp), Just(L4Proto::Udp), Just(L4Proto::Sctp)]
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

fn net(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::V4 => (any::<u32>(), 1..=32u8)
            .prop_map(|(addr, len)| Ipv4Net::new(addr.into(), len).unwrap().trunc().into())
            .boxed(),
        Family::V6 => (any::<u128>(), 1..=128u8)
            .prop_map(|(addr, len)| Ipv6Net::new(addr.into(), len).unwrap().trunc().into())
            .boxed(),
    }
}

fn condition(family: Family, proto: L4Proto, place: Place) -> impl Strategy<Value = Match> {
    let name = "[a-z][a-z0-9.]{0,14}";
    prop_oneof![
        (side(), any::<bool>(), net(family)).prop_map(|(side, not, net)| Match::Net {
            side,
            not,
            net
        }),
        (side(), any::<bool>()).prop_map(move |(side, not)| Match::InSet {
            side,
            family,
            not,
            set: of_family("", family)
        }),
        any::<bool>().prop_map(move |not| Match::PairInSet {
            family,
            not,
            set: of_family("pairs", family)
        }),
        Just(Match::FlowInSet {
            family,
            set: of_family("flows", family)
        }),
        (1..=family.bits()).prop_map(move |bits| Match::InnerInSet {
            family,
            bits,
            set: of_family("inner", family),
        }),
        (any::<u32>(), 1..u32::MAX).prop_map(|(value, mask)| Match::Mark {
            value: value & mask,
            mask
        }),
        any::<u16>().prop_map(move |port| Match::DestPort { proto, port }),
        Just(Match::L4Proto(proto)),
        Just(Match::LocalDestination),
        Just(Match::Translated),
        answer_of(family),
        Just(match place {
            // While a packet leaves, the kernel does not say.
            Place::DestinationNat => Match::NoWayBack,
            Place::Filter | Place::SourceNat => Match::InKind("bridge".to_owned()),
        }),
        (any::<bool>(), name).prop_map(|(not, name)| Match::InInterface { not, name }),
        (any::<bool>(), name).prop_map(|(not, name)| Match::OutInterface { not, name }),
    ]
}

/// Of connections of IPv4; in its place another condition of the other family.
fn answer_of(family: Family) -> BoxedStrategy<Match> {
    match family {
        Family::V4 => (any::<u32>(), 1..32u8)
            .prop_map(|(addr, len)| {
                Match::AnswerOf(Ipv4Net::new(addr.into(), len).unwrap().trunc())
            })
            .boxed(),
        Family::V6 => Just(Match::Translated).boxed(),
    }
}

fn verdict(family: Family, place: Place) -> BoxedStrategy<Verdict> {
    let plain = prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Return),
        Just(Verdict::Jump("sub".to_owned())),
        Just(Verdict::Goto("sub".to_owned())),
        (1..u32::MAX).prop_map(Verdict::Mark),
    ];
    match place {
        Place::Filter if family == Family::V4 => prop_oneof![
            plain,
            any::<u32>().prop_map(|to| Verdict::WriteDestination(to.into())),
            prop::sample::select(vec![
                (MapKey::ProtoPort, "own4"),
                (MapKey::AddrProtoPort, "own-hosts4"),
            ])
            .prop_map(|(key, map)| Verdict::WriteSource {
                key,
                map: map.to_owned(),
            }),
        ]
        .boxed(),
        Place::Filter => plain.boxed(),
        Place::SourceNat => prop_oneof![
            plain,
            any::<bool>().prop_map(|fully_random| Verdict::Masquerade { fully_random }),
        ]
        .boxed(),
        Place::DestinationNat => prop_oneof![
            plain,
            (net(family), 1..u16::MAX)
                .prop_map(|(net, port)| Verdict::Dnat(SocketAddr::new(net.addr(), port))),
            prop::sample::select(vec![
                (MapKey::ProtoPort, "ports"),
                (MapKey::AddrProtoPort, "hosts"),
                (MapKey::Flow, "led"),
            ])
            .prop_map(move |(key, map)| Verdict::DnatMap {
                family,
                key,
                map: of_family(map, family),
            }),
        ]
        .boxed(),
    }
}
