//! The table that the CNI plugins share. Its rules are constant; an attachment is elements of its sets, each with the
//! owner as comment, so that DEL and GC find them without any record.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_nft::render::Element;
use tweed_nft::rule::{multicast, to};
use tweed_nft::ruleset::{
    Chain, ChainKind, DataType, Hook, HookPoint, Match, Rule, Ruleset, Set, Side, Verdict,
    addr_bytes,
};

use super::hostport;
use super::owner::Owner;

/// The plugins' table, family inet.
pub const CNI_TABLE: &str = "tweed-cni";

/// Set of the containers' addresses that are masqueraded.
pub(crate) fn masquerade_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "masq4",
        Family::V6 => "masq6",
    }
}

/// Set of pairs (container address, its own network): what passes between the two keeps its source.
pub(crate) fn own_network_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "own4",
        Family::V6 => "own6",
    }
}

/// Whether a set of the plugins' table is one of the two above.
pub(crate) fn is_masquerading(set: &str) -> bool {
    Family::BOTH.iter().any(|family| {
        [masquerade_set, own_network_set]
            .map(|of| of(*family))
            .contains(&set)
    })
}

/// The table without attachments.
pub fn cni_base() -> Ruleset {
    let mut ruleset = Ruleset {
        table: CNI_TABLE.to_owned(),
        ..Ruleset::default()
    };
    for family in Family::BOTH {
        let addr = DataType::addr(family);
        let addresses = Set {
            key: vec![addr],
            ..Set::default()
        };
        let pairs = Set {
            key: vec![addr, addr],
            interval: true,
            ..Set::default()
        };
        let sets = &mut ruleset.sets;
        sets.insert(masquerade_set(family).to_owned(), addresses);
        sets.insert(own_network_set(family).to_owned(), pairs);
    }
    let mut rules = vec![hostport::masquerade_marked()];
    rules.extend(Family::BOTH.into_iter().flat_map(masquerade_rules));
    let hook = Some(Hook {
        kind: ChainKind::Nat,
        point: HookPoint::Postrouting,
        priority: 100,
        drop: false,
    });
    let chain = Chain { hook, rules };
    ruleset.chains.insert("postrouting".to_owned(), chain);
    hostport::add_base(&mut ruleset);
    ruleset
}

fn masquerade_rules(family: Family) -> [Rule; 3] {
    let own = Match::PairInSet {
        family,
        not: false,
        set: own_network_set(family).to_owned(),
    };
    let masqueraded = Match::InSet {
        side: Side::Source,
        family,
        not: false,
        set: masquerade_set(family).to_owned(),
    };
    let rule = |condition, verdict, comment: &str| Rule {
        matches: vec![condition],
        counter: false,
        verdict,
        comment: comment.to_owned(),
    };
    [
        rule(to(multicast(family)), Verdict::Return, "multicast"),
        rule(own, Verdict::Return, "inside the container's own network"),
        rule(
            masqueraded,
            Verdict::Masquerade { fully_random: true },
            "containers to the outside",
        ),
    ]
}

/// The elements by which an address (with the length of its own network) is masqueraded: set name and element.
pub(crate) fn masquerade_elements(owner: &Owner, addr: IpNet) -> [(&'static str, Element); 2] {
    let family = Family::of_net(&addr);
    let key = addr_bytes(addr.addr());
    let pair = |other: IpAddr| [key.clone(), addr_bytes(other)].concat();
    let comment = Some(owner.to_string());
    let masqueraded = Element {
        comment: comment.clone(),
        ..Element::plain(key.clone())
    };
    let own = Element {
        key: pair(addr.network()),
        key_end: Some(pair(addr.broadcast())),
        value: None,
        comment,
    };
    [
        (masquerade_set(family), masqueraded),
        (own_network_set(family), own),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_comment() {
        let owner = Owner::new("cbr0", &"e".repeat(64), "eth0");
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner.clone()));
        assert!(owner.is_in("cbr0") && !owner.is_in("cbr1"));
    }

    #[test]
    fn long_names_are_shortened_but_stay_apart() {
        let long = "n".repeat(200);
        let one = Owner::new(&long, &format!("{long}1"), "an-interface-name-too-long");
        let two = Owner::new(&long, &format!("{long}2"), "an-interface-name-too-long");
        assert_ne!(one, two);
        assert!(one.is_in(&long));
        assert!(one.to_string().len() <= tweed_nft::userdata::COMMENT_MAX);
        assert_eq!(Owner::parse(&one.to_string()), Some(one));
    }

    #[test]
    fn a_slash_in_a_name_does_not_forge_another_owner() {
        let honest = Owner::new("a", "b", "c");
        assert_ne!(Owner::new("a/b", "c", ""), honest);
        assert_eq!(Owner::parse("a/b/c/d"), None);
        assert_eq!(Owner::parse("somebody else's"), None);
    }
}
