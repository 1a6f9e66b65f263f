//! Rulesets made up at random: the kernel takes them, shows them as we expect, and nft lists what we send in the same
//! words as what it makes of our text.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use tweed_netlink::Netfilter;
use tweed_nft::rule_fingerprint;
use tweed_nft::ruleset::{Match, Rule, Side, Verdict};

use crate::lab::{converge, isolated, nft, sh};
use crate::made_up::{Family4or6, Place, rule, ruleset};

#[test]
fn the_kernel_takes_any_ruleset_and_shows_it_as_nft_would_have_written_it() {
    isolated(|| {
        let socket = RefCell::new(Netfilter::open().unwrap());
        let mut runner = TestRunner::new(Config {
            cases: 64,
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&ruleset(), |want| {
            converge(&mut socket.borrow_mut(), &want);
            let ours = sh("nft list table inet made-up");
            nft(&format!("delete table inet made-up\n{want}"));
            let theirs = sh("nft list table inet made-up");
            let ours = ours.replace(
                "\tcomment \"written by tweed; changes by hand are undone\"\n",
                "",
            );
            for (ours, theirs) in ours.lines().zip(theirs.lines()) {
                prop_assert_eq!(ours, theirs);
            }
            prop_assert_eq!(ours.len(), theirs.len());
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}

#[test]
fn equal_rules_have_equal_fingerprints_and_different_rules_do_not() {
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let pair = (Family4or6::any(), Place::any())
        .prop_flat_map(|(family, place)| (rule(family.0, place), rule(family.0, place)));
    runner
        .run(&pair, |(one, two)| {
            prop_assert_ne!(rule_fingerprint(&one), 0);
            // Text and comment say all there is to a rule.
            let same = one.to_string() == two.to_string();
            prop_assert_eq!(rule_fingerprint(&one) == rule_fingerprint(&two), same);
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_single_change_of_a_rule_changes_the_state() {
    let mut runner = TestRunner::new(Config::with_cases(500));
    let changed = (ruleset(), any::<prop::sample::Index>(), 0..4usize);
    runner
        .run(&changed, |(before, index, how)| {
            let places: Vec<(String, usize)> = before
                .chains
                .iter()
                .flat_map(|(name, chain)| (0..chain.rules.len()).map(|i| (name.clone(), i)))
                .collect();
            prop_assume!(!places.is_empty());
            let (chain, place) = index.get(&places).clone();
            let mut after = before.clone();
            let rules = &mut after.chains.get_mut(&chain).unwrap().rules;
            match how {
                0 => drop(rules.remove(place)),
                1 => rules[place].counter ^= true,
                2 => rules[place].comment.insert(0, 'x'),
                _ => rules[place].matches.push(Match::Mark { value: 7, mask: 7 }),
            }
            prop_assert_ne!(before.state(), after.state());
            Ok(())
        })
        .unwrap();
}

/// Fingerprints are stored in kernels and compared by later versions: they must not move.
#[test]
fn a_fingerprint_is_the_same_in_every_version() {
    let rule = Rule {
        matches: vec![Match::Net {
            side: Side::Source,
            not: false,
            net: "10.244.0.0/16".parse().unwrap(),
        }],
        counter: false,
        verdict: Verdict::Accept,
        comment: "from pods".to_owned(),
    };
    assert_eq!(
        format!("{:016x}", rule_fingerprint(&rule)),
        "874abd0813291f09"
    );
}
