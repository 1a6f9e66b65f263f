//! `conditionsV4` and `conditionsV6`: words of iptables or nft, as far as they say who may connect. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::hostport::{Condition, Part};
use tweed_model::Family;
use tweed_nft::ruleset::L4Proto;

use crate::spec::{CniError, Kind};

/// What can be translated.
const WANTED: &str = "want -s, -d and -p of iptables, each with ! before it or not, or ip (ip6) saddr and daddr, \
    and meta l4proto, of nft, each with != or not";

/// Reads the words of a family's list.
///
/// # Errors
/// Names the word that can't be translated.
pub(super) fn read(
    key: &str,
    family: Family,
    words: &[String],
) -> Result<Option<Vec<Condition>>, CniError> {
    let mut words = words.iter().map(String::as_str);
    let mut conditions = Vec::new();
    while let Some(word) = words.next() {
        let condition = match word {
            "ip" | "ip6" | "meta" => nft(family, word, &mut words),
            "!" => words.next().and_then(|word| {
                let part = part(family, word, words.next()?)?;
                Some(Condition { not: true, part })
            }),
            _ => words.next().and_then(|value| {
                let part = part(family, word, value)?;
                Some(Condition { not: false, part })
            }),
        };
        conditions.push(condition.ok_or_else(|| refused(key, word))?);
    }
    Ok((!conditions.is_empty()).then_some(conditions))
}

fn refused(key: &str, word: &str) -> CniError {
    let msg = format!("{key}: {word:?} and what follows it can't be translated");
    CniError::new(Kind::UnsupportedField, msg).details(WANTED)
}

fn part(family: Family, word: &str, value: &str) -> Option<Part> {
    match word {
        "-s" | "--src" | "--source" => net(family, value).map(Part::Source),
        "-d" | "--dst" | "--destination" => net(family, value).map(Part::Destination),
        "-p" | "--proto" | "--protocol" => protocol(value).map(Part::Protocol),
        _ => None,
    }
}

fn nft<'w>(
    family: Family,
    first: &str,
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<Condition> {
    let of_family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let second = words.next()?;
    let mut value = words.next()?;
    let not = value == "!=";
    if not || value == "==" {
        value = words.next()?;
    }
    let part = match (first, second) {
        ("meta", "l4proto") => Part::Protocol(protocol(value)?),
        (first, "saddr") if first == of_family => Part::Source(net(family, value)?),
        (first, "daddr") if first == of_family => Part::Destination(net(family, value)?),
        _ => return None,
    };
    Some(Condition { not, part })
}

fn net(family: Family, text: &str) -> Option<IpNet> {
    let net = text.parse().ok();
    let addr = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net: Option<IpNet> = net.or_else(addr);
    net.filter(|net| Family::of_net(net) == family)
}

fn protocol(name: &str) -> Option<L4Proto> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" | "6" => Some(L4Proto::Tcp),
        "udp" | "17" => Some(L4Proto::Udp),
        "sctp" | "132" => Some(L4Proto::Sctp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(family: Family, text: &str) -> Result<Vec<Condition>, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let conditions = read("conditionsV4", family, &words);
        conditions
            .map(Option::unwrap_or_default)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn words_of_iptables_and_of_nft_mean_the_same() {
        for (family, iptables, nft) in [
            (Family::V4, "-s 192.0.2.0/24", "ip saddr 192.0.2.0/24"),
            (Family::V4, "! -d 192.0.2.1", "ip daddr != 192.0.2.1"),
            (Family::V6, "-d 2001:db8::/32", "ip6 daddr == 2001:db8::/32"),
            (Family::V4, "! -p tcp", "meta l4proto != 6"),
            (
                Family::V4,
                "--source 10.0.0.0/8 ! --destination 10.0.0.1",
                "ip saddr 10.0.0.0/8 ip daddr != 10.0.0.1",
            ),
            (Family::V4, "", ""),
        ] {
            let read = words(family, iptables).unwrap();
            assert_eq!(words(family, nft).unwrap(), read, "{iptables}");
            assert_eq!(read.is_empty(), iptables.is_empty());
        }
    }

    #[test]
    fn what_cant_be_translated_is_refused_by_its_name() {
        for (text, named) in [
            ("-i eth0", "-i"),
            ("! -i eth0", "!"),
            ("-m comment --comment x", "-m"),
            ("-s", "-s"),
            ("-s 2001:db8::/32", "-s"),
            ("-s 10.0.0.0/8,11.0.0.0/8", "-s"),
            ("-d host.example", "-d"),
            ("-p icmp", "-p"),
            ("-p tcp --dport 80", "--dport"),
            ("ip6 saddr 2001:db8::1", "ip6"),
            ("ip saddr @set", "ip"),
            ("ip ttl 1", "ip"),
            ("iifname eth0", "iifname"),
        ] {
            let error = words(Family::V4, text).unwrap_err();
            let expected = format!("conditionsV4: {named:?} and what follows it");
            assert!(error.contains(&expected), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_words_make_the_reader_panic(list in proptest::collection::vec("!|!=|-s|-d|-p|ip|ip6|saddr|daddr|meta|l4proto|tcp|10\\.0\\.0\\.0/8|::1|[a-z/:.]{0,6}", 0..8)) {
            for family in Family::BOTH {
                let _ = read("conditionsV4", family, &list);
            }
        }
    }
}
