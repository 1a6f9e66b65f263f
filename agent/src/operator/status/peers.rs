//! The other nodes in columns.

use std::collections::BTreeMap;
use std::time::Duration;

use tweed_model::Dual;
use tweed_probe::health::State;

use crate::daemon::peers::{Peer, Standing};
use crate::daemon::probing::{BadPeer, PeerProbe, words};
use crate::operator::table;
use crate::operator::times::ago;

/// Up to so many nodes are listed unasked.
pub(super) const FEW: usize = 20;

/// A table of the nodes, those first with whom something is wrong. `now` is in seconds since 1970.
pub(super) fn listed(peers: &[Peer], left_out: usize, now: u64) -> String {
    if peers.is_empty() {
        return "no other nodes\n".to_owned();
    }
    let header = ["PEER", "SUBNET", "BACKEND", "PROBE", "SINCE", ""];
    let rows = peers.iter().map(|peer| row(peer, now));
    let header = header.map(str::to_owned);
    let mut text = table::render(std::iter::once(header).chain(rows), &[]);
    if left_out > 0 {
        text += &format!("and {left_out} more peers\n");
    }
    text
}

/// Those that packets don't reach, where not all nodes are listed.
pub(super) fn bad(peers: &[BadPeer], now: u64) -> String {
    let header = ["PEER", "SUBNET", "PROBE", "SINCE", ""].map(str::to_owned);
    let rows = peers.iter().map(|peer| {
        let probe = &peer.probe;
        let note = probe.note.clone();
        [
            joined(&peer.public),
            joined(&peer.subnets),
            answer(probe),
            ago(probe.since, now),
            note.unwrap_or_default(),
        ]
    });
    table::render(std::iter::once(header).chain(rows), &[])
}

/// How many peers answer how, where not all of them do.
pub(super) fn states(states: &BTreeMap<State, usize>) -> String {
    if states.keys().all(|state| *state == State::Ok) {
        return String::new();
    }
    let counts = states.iter();
    let counts = counts.map(|(state, count)| format!("{count} {}", words::state(*state)));
    format!(": {}", counts.collect::<Vec<_>>().join(", "))
}

fn row(peer: &Peer, now: u64) -> [String; 6] {
    let public = joined(&peer.public);
    let node = match &peer.node {
        Some(name) => format!("{name} ({public})"),
        None => public,
    };
    let (probe, since) = match (peer.state, &peer.probe) {
        (Standing::Peer, Some(probe)) => (answer(probe), Some(probe.since)),
        (Standing::Peer, None) => ("-".to_owned(), peer.seen),
        (Standing::Reserved, _) => ("reserved".to_owned(), peer.seen),
        (Standing::Refused, _) => ("refused".to_owned(), peer.seen),
        (Standing::Held, _) => ("held".to_owned(), peer.seen),
    };
    [
        node,
        joined(&peer.subnets),
        peer.backend.clone(),
        probe,
        since.map_or_else(String::new, |since| ago(since, now)),
        note(peer),
    ]
}

/// `0.2 ms`, or what is wrong.
fn answer(probe: &PeerProbe) -> String {
    let rtt = probe.rtt_us.map(Duration::from_micros);
    match (probe.state, rtt) {
        (State::Ok, Some(rtt)) => words::short(rtt),
        (state, _) => words::state(state).to_owned(),
    }
}

fn joined<T: ToString>(values: &Dual<T>) -> String {
    let values: Vec<String> = values.values().map(ToString::to_string).collect();
    values.join(" ")
}

/// Why it is no peer, what its answers mean, what was exchanged with it.
fn note(peer: &Peer) -> String {
    let traffic = peer.traffic.iter().map(|exchanged| {
        let traffic = &exchanged.traffic;
        let (sent, received) = (traffic.sent.packets, traffic.received.packets);
        format!("sent {sent} packets, received {received} packets")
    });
    let probe = peer.probe.iter().filter_map(|probe| probe.note.clone());
    let said = peer.reason.iter().cloned().chain(probe);
    let all: Vec<String> = said.chain(traffic).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer {
            lease: "10.5.2.0-24".to_owned(),
            node: None,
            public: Dual::of_addrs(["192.0.2.2".parse().expect("an address")]),
            subnets: Dual::of_nets(["10.5.2.0/24".parse().expect("a subnet")]),
            backend: "vxlan".to_owned(),
            seen: Some(1_000),
            created: 7,
            state: Standing::Peer,
            reason: None,
            kind: None,
            traffic: Vec::new(),
            probe: None,
        }
    }

    #[test]
    fn each_node_has_a_line_with_what_it_is_and_why() {
        let refused = Peer {
            node: Some("b".to_owned()),
            seen: None,
            state: Standing::Refused,
            reason: Some("outside of the network".to_owned()),
            ..peer()
        };
        assert_eq!(
            listed(&[refused, peer()], 3, 1_240),
            "PEER           SUBNET       BACKEND  PROBE    SINCE\n\
             b (192.0.2.2)  10.5.2.0/24  vxlan    refused         outside of the network\n\
             192.0.2.2      10.5.2.0/24  vxlan    -        4 m\n\
             and 3 more peers\n"
        );
        assert_eq!(listed(&[], 0, 0), "no other nodes\n");
    }

    #[test]
    fn a_peer_that_answers_has_its_time_and_another_one_what_is_wrong() {
        let ok = PeerProbe {
            state: State::Ok,
            since: 1_000,
            last_seen: Some(1_200),
            rtt_us: Some(234),
            mtu: None,
            note: None,
        };
        let lost = PeerProbe {
            state: State::NoAnswer,
            note: Some("is its host down?".to_owned()),
            ..ok
        };
        let with = |probe: &PeerProbe| Peer {
            probe: Some(probe.clone()),
            ..peer()
        };
        assert_eq!(
            listed(&[with(&lost), with(&ok)], 0, 8_200),
            "PEER       SUBNET       BACKEND  PROBE      SINCE\n\
             192.0.2.2  10.5.2.0/24  vxlan    no answer  2 h    is its host down?\n\
             192.0.2.2  10.5.2.0/24  vxlan    0.2 ms     2 h\n"
        );
        let bad_peer = BadPeer {
            lease: "10.5.2.0-24".to_owned(),
            subnets: peer().subnets,
            public: peer().public,
            probe: lost,
        };
        assert_eq!(
            bad(&[bad_peer], 1_240),
            "PEER       SUBNET       PROBE      SINCE\n\
             192.0.2.2  10.5.2.0/24  no answer  4 m    is its host down?\n"
        );
        assert_eq!(states(&[(State::Ok, 3)].into()), "");
        let mixed = [(State::Ok, 3), (State::NoAnswer, 1)].into();
        assert_eq!(states(&mixed), ": 3 ok, 1 no answer");
    }
}
