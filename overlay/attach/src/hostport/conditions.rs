//! Conditions on who may use an attachment's host ports: by source, by the host's address, by protocol. They become
//! ranges of one map's keys, so that the rules stay the same for all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::Family;
use tweed_nft::ruleset::L4Proto;

/// One condition; all of a family must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// It holds where the rest doesn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not: bool,
    pub part: Part,
}

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The source lies in this network.
    Source(IpNet),
    /// The destination does, before the translation.
    Destination(IpNet),
    /// The transport protocol.
    Protocol(L4Proto),
}

/// The first and the last address of a range, as a number.
type Range = (u128, u128);

/// Pairs of a range of sources and one of destinations, each its first and last address, for which all conditions hold.
pub(super) fn pairs(
    conditions: &[Condition],
    protocol: L4Proto,
    family: Family,
    host_addr: Option<IpAddr>,
) -> Vec<([IpAddr; 2], [IpAddr; 2])> {
    let all = (0, u128::MAX >> (128 - u32::from(family.bits())));
    let (mut sources, mut destinations) = (vec![all], vec![all]);
    if let Some(addr) = host_addr {
        destinations = within(&destinations, range(IpNet::from(addr)), false);
    }
    for Condition { not, part } in conditions {
        match part {
            Part::Source(net) => sources = within(&sources, range(*net), *not),
            Part::Destination(net) => destinations = within(&destinations, range(*net), *not),
            Part::Protocol(wanted) if (*wanted == protocol) == *not => return Vec::new(),
            Part::Protocol(_) => {}
        }
    }
    let ends = |(first, last): &Range| [*first, *last].map(|number| address(family, number));
    let pair = |source| {
        let destinations = destinations.iter().map(ends);
        destinations.map(move |destination| (source, destination))
    };
    sources.iter().map(ends).flat_map(pair).collect()
}

/// What ranges have in common with another one, or what they have besides it.
fn within(ranges: &[Range], (from, to): Range, not: bool) -> Vec<Range> {
    let cut = |(first, last): Range| (first <= last).then_some((first, last));
    let parts = |(first, last): &Range| match not {
        false => [cut((from.max(*first), to.min(*last))), None],
        true => [
            from.checked_sub(1)
                .and_then(|end| cut((*first, end.min(*last)))),
            to.checked_add(1)
                .and_then(|begin| cut((begin.max(*first), *last))),
        ],
    };
    ranges.iter().flat_map(parts).flatten().collect()
}

fn range(net: IpNet) -> Range {
    (number(net.network()), number(net.broadcast()))
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(conditions: &[Condition], host_addr: Option<&str>) -> Vec<String> {
        let host_addr = host_addr.map(|addr| addr.parse().unwrap());
        let pairs = pairs(conditions, L4Proto::Tcp, Family::V4, host_addr);
        let text = |[first, last]: [IpAddr; 2]| format!("{first}-{last}");
        pairs
            .into_iter()
            .map(|(from, to)| format!("{} {}", text(from), text(to)))
            .collect()
    }

    fn source(not: bool, net: &str) -> Condition {
        let part = Part::Source(net.parse().unwrap());
        Condition { not, part }
    }

    #[test]
    fn a_network_is_one_range_and_all_but_one_are_two() {
        let any = "0.0.0.0-255.255.255.255";
        assert_eq!(
            texts(&[source(false, "192.0.2.0/24")], None),
            [format!("192.0.2.0-192.0.2.255 {any}")]
        );
        assert_eq!(
            texts(&[source(true, "192.0.2.0/24")], Some("198.51.100.1")),
            [
                "0.0.0.0-192.0.1.255 198.51.100.1-198.51.100.1",
                "192.0.3.0-255.255.255.255 198.51.100.1-198.51.100.1"
            ]
        );
        assert_eq!(texts(&[source(true, "0.0.0.0/0")], None), [""; 0]);
        assert_eq!(
            texts(
                &[source(false, "10.0.0.0/8"), source(false, "11.0.0.0/8")],
                None
            ),
            [""; 0]
        );
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let net = (any::<[u8; 2]>(), 0..=16_u8).prop_map(|([a, b], length)| {
            let net = ipnet::Ipv4Net::new([a, b, 0, 0].into(), length).unwrap();
            IpNet::from(net.trunc())
        });
        let part = (net, 0..3_u8).prop_map(|(net, kind)| match kind {
            0 => Part::Source(net),
            1 => Part::Destination(net),
            _ => Part::Protocol(L4Proto::Tcp),
        });
        (any::<bool>(), part).prop_map(|(not, part)| Condition { not, part })
    }

    proptest! {
        /// The kernel refuses ranges that overlap.
        #[test]
        fn a_pair_of_addresses_is_in_one_range_if_all_conditions_hold_and_else_in_none(
            conditions in prop::collection::vec(condition(), 0..5),
            source: Ipv4Addr,
            destination: Ipv4Addr,
        ) {
            let (source, destination) = (IpAddr::from(source), IpAddr::from(destination));
            let holds = conditions.iter().all(|condition| {
                let part = match condition.part {
                    Part::Source(net) => net.contains(&source),
                    Part::Destination(net) => net.contains(&destination),
                    Part::Protocol(wanted) => wanted == L4Proto::Tcp,
                };
                part != condition.not
            });
            let pairs = pairs(&conditions, L4Proto::Tcp, Family::V4, None);
            let is_in = |[first, last]: [IpAddr; 2], addr| first <= addr && addr <= last;
            let found = pairs.iter().filter(|(from, to)| is_in(*from, source) && is_in(*to, destination));
            prop_assert_eq!(found.count(), usize::from(holds));
        }
    }
}
