//! Each change of the table by another program is seen, and repaired by the smallest change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tweed_kernel::{Kernel, Linux};
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::{Change, ForeignForward, Ruleset, agent_ruleset, diff, live, peer_set};
use tweed_state::{Op, Scope};

use crate::lab::{addr, converge, isolated, nft, peers, policy, sh};

/// Applies the ruleset, lets somebody interfere, and returns what the difference is taken for. Then mends it.
fn interfere(want: &Ruleset, interference: &str) -> Change {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        converge(&mut socket, want);
        let before = sh("nft list ruleset");
        nft(interference);
        let have = live::observe(&mut socket, &want.table).unwrap();
        let change = diff(want, have.as_ref()).expect("the interference shows");
        converge(&mut socket, want);
        assert_eq!(sh("nft list ruleset"), before, "after: {interference}");
        change
    })
}

#[test]
fn anything_but_an_element_is_mended_by_replacing_the_table() {
    let want = agent_ruleset(&policy());
    for interference in [
        "delete table inet tweed",
        "flush ruleset",
        "flush chain inet tweed postrouting",
        "add rule inet tweed input drop",
        "insert rule inet tweed postrouting ip saddr 10.244.1.5 masquerade",
        "add chain inet tweed mine",
        "add set inet tweed mine { type ipv4_addr; }",
        "add table inet tweed { flags dormant; }",
        "add chain inet tweed input { policy drop; }",
        "add rule inet tweed input ip saddr { 192.0.2.9, 192.0.2.10 } accept",
    ] {
        let change = interfere(&want, interference);
        assert!(
            matches!(change, Change::Replace(_)),
            "{interference}: {change:?}"
        );
    }
}

#[test]
fn a_table_that_another_process_owns_is_named_with_that_process() {
    isolated(|| {
        let mut command = Command::new("nft");
        command
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut nft = command.spawn().unwrap();
        let input = nft.stdin.as_mut().unwrap();
        writeln!(input, "add table inet tweed {{ flags owner; }}").unwrap();
        let start = Instant::now();
        while !sh("nft list tables").contains("inet tweed") {
            assert!(start.elapsed() < Duration::from_secs(10), "no table");
        }
        let mut linux = Linux::open().unwrap();
        let scope = Scope {
            table: "tweed".to_owned(),
            ..Scope::default()
        };
        linux.observe(&scope).unwrap();
        let change = Change::Replace(agent_ruleset(&policy()));
        let error = linux.apply(&Op::Firewall(change)).unwrap_err().to_string();
        let remedy = format!("(most likely pid {}); end it", nft.id());
        assert!(error.contains(&remedy), "{error}");
        nft.kill().unwrap();
        nft.wait().unwrap();
    });
}

#[test]
fn a_single_deleted_or_replaced_rule_is_seen() {
    let want = agent_ruleset(&policy());
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        for chain in ["input", "postrouting"] {
            for index in 0..want.chains[chain].rules.len() {
                for verb in ["delete rule", "replace rule"] {
                    converge(&mut socket, &want);
                    let listing = sh(&format!("nft -a list chain inet tweed {chain}"));
                    let rule = listing
                        .lines()
                        .filter(|line| line.contains(" # handle ") && line.starts_with("\t\t"))
                        .nth(index)
                        .unwrap();
                    let (text, handle) = rule.trim().rsplit_once(" # handle ").unwrap();
                    // Replaced by its own text: the rule looks the same, but we didn't write it.
                    let text = if verb == "replace rule" { text } else { "" };
                    let text = text.replace("packets 0 bytes 0 ", "");
                    nft(&format!("{verb} inet tweed {chain} handle {handle} {text}"));
                    let have = live::observe(&mut socket, "tweed").unwrap();
                    assert!(diff(&want, have.as_ref()).is_some(), "{verb} {rule}");
                }
            }
        }
        converge(&mut socket, &want);
    });
}

#[test]
fn a_deleted_or_added_element_is_one_element_to_mend() {
    let want = agent_ruleset(&policy());
    let change = interfere(&want, "delete element inet tweed peers4 { 192.0.2.2 }");
    let Change::Elements { add, remove, .. } = change else {
        panic!("{change:?}");
    };
    assert_eq!(
        add[peer_set(Family::V4)],
        BTreeSet::from([[192, 0, 2, 2].into()])
    );
    assert!(remove.is_empty());
    let change = interfere(&want, "add element inet tweed peers6 { 2001:db8::bad }");
    let Change::Elements { add, remove, .. } = change else {
        panic!("{change:?}");
    };
    assert!(add.is_empty());
    assert_eq!(remove[peer_set(Family::V6)].len(), 1);
}

#[test]
fn an_element_change_keeps_the_drop_counter() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let mut input = policy();
        converge(&mut socket, &agent_ruleset(&input));
        let handles = sh("nft -a list chain inet tweed input");
        peers(&mut input).insert(addr("192.0.2.77"));
        converge(&mut socket, &agent_ruleset(&input));
        assert_eq!(sh("nft -a list chain inet tweed input"), handles);
        assert!(sh("nft list set inet tweed peers4").contains("192.0.2.77"));
    });
}

#[test]
fn element_changes_may_be_repeated() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let want = agent_ruleset(&policy());
        converge(&mut socket, &want);
        let set = peer_set(Family::V4).to_owned();
        let sets =
            |last: u8| BTreeMap::from([(set.clone(), BTreeSet::from([[192, 0, 2, last].into()]))]);
        let change = Change::Elements {
            table: want.table.clone(),
            add: sets(50),
            remove: sets(2),
        };
        for _ in 0..2 {
            live::apply(&mut socket, &change).unwrap();
            let have = live::observe(&mut socket, "tweed").unwrap().unwrap();
            let elements = &have.sets[&set].elements;
            assert!(elements.contains(&[192, 0, 2, 50].into()));
            assert!(!elements.contains(&[192, 0, 2, 2].into()));
        }
    });
}

#[test]
fn a_failing_transaction_changes_nothing_and_names_its_object() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let want = agent_ruleset(&policy());
        converge(&mut socket, &want);
        let before = sh("nft list ruleset");
        let mut broken = want.clone();
        broken.sets.clear();
        let error = live::apply(&mut socket, &Change::Replace(broken)).unwrap_err();
        assert!(error.what.contains("chain port-8472"), "{error}");
        assert_eq!(sh("nft list ruleset"), before);
    });
}

#[test]
fn deleting_the_table_succeeds_whether_or_not_it_is_there() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        converge(&mut socket, &agent_ruleset(&policy()));
        for _ in 0..2 {
            live::apply(&mut socket, &Change::Delete("tweed".to_owned())).unwrap();
            assert_eq!(live::observe(&mut socket, "tweed").unwrap(), None);
        }
        assert_eq!(sh("nft list ruleset"), "");
    });
}

#[test]
fn ten_thousand_peers_go_in_and_out_in_one_transaction_each() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let mut input = policy();
        let few = agent_ruleset(&input);
        let peers = peers(&mut input);
        for n in 0..10_000u32 {
            peers.insert(std::net::Ipv4Addr::from(0x0a00_0000 + n).into());
            peers.insert(std::net::Ipv6Addr::from(0xfd << 120 | u128::from(n)).into());
        }
        let many = agent_ruleset(&input);
        converge(&mut socket, &many);
        converge(&mut socket, &few);
        let have = live::observe(&mut socket, "tweed").unwrap();
        let change = diff(&many, have.as_ref());
        assert!(matches!(change, Some(Change::Elements { .. })));
        converge(&mut socket, &many);
        // 50 ms; a reader that costs the square of the elements took 20 s.
        let start = Instant::now();
        live::observe(&mut socket, "tweed").unwrap();
        assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    });
}

#[test]
fn reading_stays_whole_while_others_change_the_packet_filter() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let want = agent_ruleset(&policy());
        converge(&mut socket, &want);
        std::thread::scope(|scope| {
            let others = scope.spawn(|| {
                for n in 0..60 {
                    nft(&format!(
                        "add table inet other{n}; delete table inet other{n}"
                    ));
                }
            });
            let mut readings = 0;
            while !others.is_finished() {
                let have = live::observe(&mut socket, "tweed").unwrap();
                assert_eq!(diff(&want, have.as_ref()), None);
                readings += 1;
            }
            assert!(readings > 0);
        });
    });
}

#[test]
fn the_reconciler_s_kernel_sees_and_mends_the_packet_filter() {
    isolated(|| {
        sh("iptables -P FORWARD DROP");
        let mut kernel = Linux::open().unwrap();
        let scope = Scope {
            table: "tweed".to_owned(),
            ..Scope::default()
        };
        let before = kernel.observe(&scope).unwrap();
        assert_eq!(before.firewall, None);
        let want = agent_ruleset(&policy());
        let change = diff(&want, None).unwrap();
        kernel.apply(&Op::Firewall(change)).unwrap();
        let forward = ForeignForward {
            accept: ["10.244.0.0/16".parse().unwrap()].into(),
        };
        let op = Op::ForeignForward(Family::V4, forward.clone());
        kernel.apply(&op).unwrap();
        let after = kernel.observe(&scope).unwrap();
        assert_eq!(after.firewall, Some(want.state()));
        assert_eq!(after.foreign_forward, [(Family::V4, forward)].into());
    });
}
