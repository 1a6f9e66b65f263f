use tweed_model::Dual;

use super::*;
use crate::daemon::probing::{BadPeer, PeerProbe};
use crate::daemon::status::Status;

const NOW: u64 = 1_709_175_127;

fn bad(number: u8, state: State) -> BadPeer {
    BadPeer {
        lease: format!("10.244.{number}.0-24"),
        subnets: Dual::of_nets([format!("10.244.{number}.0/24").parse().expect("a subnet")]),
        public: Dual::of_addrs([format!("192.0.2.{number}").parse().expect("an address")]),
        probe: PeerProbe {
            state,
            since: NOW - 240,
            last_seen: None,
            rtt_us: None,
            mtu: None,
            note: (state == State::NoAnswerByTunnel).then(|| "is UDP 8472 blocked?".to_owned()),
        },
    }
}

fn view(number: u8, of: usize, bad_peers: Vec<BadPeer>) -> Status {
    let own = bad(number, State::Ok);
    Status {
        pid: Some(1),
        subnets: own.subnets,
        public: own.public,
        peers: of - 1,
        bad_peers,
        ..Status::default()
    }
}

fn text(views: &[Status]) -> String {
    Report::of(&Seen::of(views)).text(NOW)
}

#[test]
fn one_node_that_no_other_reaches_is_one_group() {
    let lost = || bad(7, State::NoAnswerByTunnel);
    let mut views: Vec<Status> = (1..=4)
        .map(|number| view(number, 5, vec![lost()]))
        .collect();
    let all = (1..=4).map(|number| bad(number, State::NoAnswerByTunnel));
    views.push(view(7, 5, all.collect()));
    assert_eq!(
        text(&views),
        "as 5 nodes see it, 4 pairs are bad\n\n\
         all 4 pairs with 192.0.2.7 (10.244.7.0/24): no answer by tunnel, for 4 m\n  \
         is UDP 8472 blocked?\n  both sides say so\n"
    );
    // It is down, and gives no view.
    views.pop();
    let said = text(&views);
    assert!(said.contains("all 4 pairs with 192.0.2.7"), "{said}");
    assert!(said.contains("the others say so"), "{said}");
    assert!(
        said.ends_with("no view of 192.0.2.7 (10.244.7.0/24)\n"),
        "{said}"
    );
}

#[test]
fn pairs_that_have_nothing_in_common_stand_by_themselves_the_largest_group_first() {
    let views = [
        view(1, 6, vec![bad(2, State::MtuReduced)]),
        view(2, 6, vec![]),
        view(3, 6, vec![bad(4, State::NoAnswer), bad(5, State::NoAnswer)]),
        view(4, 6, vec![]),
        view(5, 6, vec![]),
        view(6, 6, vec![]),
    ];
    assert_eq!(
        text(&views),
        "as 6 nodes see it, 3 pairs are bad\n\n\
         2 of 5 pairs with 192.0.2.3 (10.244.3.0/24): no answer, for 4 m\n  \
         it says so itself; the others don't\n  \
         with 192.0.2.4 (10.244.4.0/24), 192.0.2.5 (10.244.5.0/24)\n\n\
         192.0.2.2 (10.244.2.0/24) and 192.0.2.1 (10.244.1.0/24): MTU reduced, for 4 m\n  \
         the others say so; it doesn't, or gave no view\n"
    );
}

#[test]
fn a_cluster_on_which_all_is_well_is_one_line_and_a_silent_agent_is_named() {
    let mut views = [view(1, 2, vec![]), view(2, 2, vec![])];
    let well = Report::of(&Seen::of(&views));
    assert!(well.ok);
    assert_eq!(
        well.text(NOW),
        "as 2 nodes see it, all nodes answer each other\n"
    );
    views[1].pid = None;
    let report = Report::of(&Seen::of(&views));
    assert!(!report.ok);
    let said = report.text(NOW);
    assert!(
        said.contains("no agent answers on 192.0.2.2 (10.244.2.0/24)"),
        "{said}"
    );
}

#[test]
fn five_thousand_views_are_grouped_soon() {
    let lost = |number: u16| BadPeer {
        subnets: Dual::of_nets([format!("10.{}.{}.0/24", number / 256, number % 256)
            .parse()
            .expect("a subnet")]),
        ..bad(1, State::NoAnswer)
    };
    let views: Vec<Status> = (0..5_000)
        .map(|number| Status {
            pid: Some(1),
            subnets: lost(number).subnets,
            peers: 4_999,
            bad_peers: (0..20).filter(|bad| *bad != number).map(lost).collect(),
            ..Status::default()
        })
        .collect();
    let report = Report::of(&Seen::of(&views));
    assert_eq!(report.groups.len(), 20);
    assert!(report.groups[0].with.len() == 4_999);
}
