//! The packet filter is read again only when its generation says that something has changed, and then it is.

use tweed_kernel::{Kernel, Linux};
use tweed_nft::{Change, Ruleset, agent_ruleset, diff};
use tweed_state::{KernelState, Op, Scope};

use crate::lab::{addr, isolated, nft, peers, policy, sh};

fn scope() -> Scope {
    Scope {
        table: "tweed".to_owned(),
        ..Scope::default()
    }
}

/// What is there by a look of this kernel, which is what a kernel without memory sees; and how many requests the look took.
fn look(kernel: &mut Linux) -> (KernelState, u32) {
    let before = kernel.filter_requests();
    let seen = kernel.observe(&scope()).unwrap();
    let requests = kernel.filter_requests() - before;
    let fresh = Linux::open().unwrap().observe(&scope()).unwrap();
    assert_eq!(seen.firewall, fresh.firewall);
    assert_eq!(seen.foreign_forward, fresh.foreign_forward);
    (seen, requests)
}

/// Brings the table into the wanted state as the reconciler does.
fn make(kernel: &mut Linux, want: &Ruleset, have: &KernelState) {
    if let Some(change) = diff(want, have.firewall.as_ref()) {
        kernel.apply(&Op::Firewall(change)).unwrap();
    }
    kernel.settled(&KernelState {
        firewall: Some(want.state()),
        ..KernelState::default()
    });
}

/// Rulesets with so many peers each.
fn rulesets() -> [Ruleset; 2] {
    let mut input = policy();
    let few = agent_ruleset(&input);
    peers(&mut input).insert(addr("192.0.2.9"));
    [few, agent_ruleset(&input)]
}

/// A question for the generation, and no more.
const REMEMBERED: u32 = 1;

#[test]
fn while_nothing_changes_one_question_is_enough() {
    isolated(|| {
        let [few, many] = rulesets();
        let mut kernel = Linux::open().unwrap();
        let (nothing, _) = look(&mut kernel);
        make(&mut kernel, &few, &nothing);
        let (have, requests) = look(&mut kernel);
        assert!(requests > REMEMBERED, "the table was just written");
        assert_eq!(look(&mut kernel).1, REMEMBERED);
        make(&mut kernel, &many, &have);
        let (have, requests) = look(&mut kernel);
        assert_eq!(have.firewall, Some(many.state()));
        assert_eq!(requests, REMEMBERED, "elements of our own are known");
        make(&mut kernel, &few, &have);
        assert_eq!(look(&mut kernel).1, REMEMBERED, "and that they are gone");
    });
}

#[test]
fn whatever_others_change_is_seen_at_the_next_look() {
    isolated(|| {
        let [few, many] = rulesets();
        let mut kernel = Linux::open().unwrap();
        let (nothing, _) = look(&mut kernel);
        make(&mut kernel, &few, &nothing);
        let set = few.sets.keys().find(|set| set.contains('4')).unwrap();
        let drop = format!("delete element inet tweed {set} {{ 192.0.2.2 }}");
        for other in [
            drop.as_str(),
            "add table inet other",
            "flush chain inet tweed postrouting",
            "delete table inet tweed",
        ] {
            let (have, _) = look(&mut kernel);
            make(&mut kernel, &few, &have);
            let (settled, _) = look(&mut kernel);
            assert_eq!(settled.firewall, Some(few.state()));
            nft(other);
            look(&mut kernel);
            // And where our own change comes after theirs, without a look in between.
            let (have, _) = look(&mut kernel);
            make(&mut kernel, &few, &have);
            nft(other
                .replace("add table inet other", "add table inet another")
                .as_str());
            if let Some(change @ Change::Elements { .. }) = diff(&many, Some(&few.state())) {
                let _ = kernel.apply(&Op::Firewall(change));
            }
            look(&mut kernel);
        }
        sh("iptables -P FORWARD DROP");
        look(&mut kernel);
    });
}

/// The kernel does not count a transaction that changes nothing: the next one is another program's.
#[test]
fn a_change_that_was_there_already_hides_no_other() {
    isolated(|| {
        let [few, many] = rulesets();
        let mut kernel = Linux::open().unwrap();
        let (nothing, _) = look(&mut kernel);
        make(&mut kernel, &many, &nothing);
        look(&mut kernel);
        let change = diff(&many, Some(&few.state())).unwrap();
        assert!(matches!(change, Change::Elements { .. }));
        kernel.apply(&Op::Firewall(change)).unwrap();
        nft("flush chain inet tweed postrouting");
        let (seen, _) = look(&mut kernel);
        assert_ne!(seen.firewall, Some(many.state()));
    });
}
