use tweed_model::Dual;
use tweed_probe::health::State;

use super::*;
use crate::daemon::peers::{Peer, Standing as PeerStanding};
use crate::daemon::probing::{BadPeer, PeerProbe};
use crate::daemon::status::{HostWarning, RefusedLease, Standing};

const NOW: u64 = 1_709_175_127;
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";

fn probe(state: State) -> PeerProbe {
    PeerProbe {
        state,
        since: NOW - 240,
        last_seen: Some(NOW - 250),
        rtt_us: (state == State::Ok).then_some(234),
        mtu: None,
        note: (state != State::Ok).then(|| "is UDP 8472 blocked?".to_owned()),
    }
}

fn peer(number: usize, state: State) -> Peer {
    let (high, low) = (number / 256, number % 256);
    Peer {
        lease: format!("10.{high}.{low}.0-24"),
        node: Some(format!("node-{number}")),
        public: Dual::of_addrs([format!("192.0.{high}.{low}").parse().expect("an address")]),
        subnets: Dual::of_nets([format!("10.{high}.{low}.0/24").parse().expect("a subnet")]),
        backend: "vxlan".to_owned(),
        seen: Some(NOW),
        created: 7,
        state: PeerStanding::Peer,
        reason: None,
        kind: None,
        traffic: Vec::new(),
        probe: Some(probe(state)),
    }
}

fn status(peers: Vec<Peer>) -> Status {
    let mut status = Status {
        version: "1.0".to_owned(),
        pid: Some(4660),
        started: Some(NOW - 345_600),
        ready: true,
        ready_since: Some(NOW - 240),
        store: "etcd http://192.0.2.1:2379".to_owned(),
        in_sync: true,
        lease: Standing::Held,
        subnets: Dual::of_nets(["10.244.31.0/24".parse().expect("a subnet")]),
        sandbox: vec!["files".to_owned()],
        peers: peers.len(),
        ..Status::default()
    };
    for peer in &peers {
        let probe = peer.probe.clone().expect("it is asked");
        *status.peer_states.entry(probe.state).or_default() += 1;
        if probe.state.is_bad() {
            status.bad_peers.push(BadPeer {
                lease: peer.lease.clone(),
                subnets: peer.subnets,
                public: peer.public,
                probe,
            });
        }
    }
    status.peer_list = Some(peers);
    status
}

#[test]
fn a_node_on_which_all_is_well_has_nothing_wrong() {
    let page = html(&status(vec![peer(2, State::Ok)]), NOW);
    for part in [
        "<header class=\"good\">",
        "<h1>10.244.31.0/24</h1>",
        "<p>ready: yes, since 02:48:07 UTC (4 m)</p>",
        "<span class=\"good\">1 ok</span>",
        "title=\"node-2, 10.0.2.0/24, vxlan: 0.2 ms\"",
        "<dt>store</dt><dd>etcd http://192.0.2.1:2379, in sync</dd>",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(!page.contains("What is wrong"), "{page}");
}

#[test]
fn what_is_wrong_stands_first_and_so_do_bad_peers() {
    let mut status = status(vec![peer(2, State::Ok), peer(3, State::NoAnswerByTunnel)]);
    status.ready = false;
    status.not_ready = vec!["the store is away".to_owned(), "no uplink".to_owned()];
    status.warnings = vec![HostWarning::new("forward", "a firewall drops")];
    let page = html(&status, NOW);
    let order = [
        "<header class=\"bad\">",
        "<b>not ready</b> the store is away",
        "<b>not ready</b> no uplink",
        "<b>warning</b> a firewall drops",
        "<td>192.0.0.3<td>10.0.3.0/24<td>no answer by tunnel<td>4 m<td>is UDP 8472 blocked?",
        "<li class=\"bad\" title=\"node-3",
        "<li class=\"good\" title=\"node-2",
        "This node",
    ];
    let places = order.map(|part| page.find(part).unwrap_or_else(|| panic!("{part}: {page}")));
    assert!(places.is_sorted(), "{places:?}\n{page}");
    status.ready = true;
    assert!(html(&status, NOW).contains("<header class=\"warn\">"));
}

#[test]
fn nothing_that_others_made_up_is_markup() {
    let mut hostile = peer(2, State::Ok);
    hostile.node = Some(HOSTILE.to_owned());
    hostile.backend = HOSTILE.to_owned();
    hostile.state = PeerStanding::Refused;
    hostile.reason = Some(HOSTILE.to_owned());
    let mut status = status(vec![hostile, peer(3, State::NoAnswer)]);
    status.bad_peers[0].probe.note = Some(HOSTILE.to_owned());
    status.store = HOSTILE.to_owned();
    status.store_error = Some(HOSTILE.to_owned());
    status.not_ready = vec![HOSTILE.to_owned()];
    status.refused = vec![RefusedLease {
        lease: HOSTILE.to_owned(),
        reason: HOSTILE.to_owned(),
        kind: HOSTILE.to_owned(),
    }];
    status.broken = [(HOSTILE.to_owned(), HOSTILE.to_owned())].into();
    status.uplink = Some(HOSTILE.to_owned());
    let page = html(&status, NOW);
    assert!(
        !page.contains("<img") && !page.contains("x onerror=alert(1)>"),
        "{page}"
    );
    let escaped = "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;";
    assert!(page.matches(escaped).count() >= 11, "{page}");
}

#[test]
fn nothing_comes_from_elsewhere_and_nothing_is_run() {
    let page = html(&status(vec![peer(2, State::Ok)]), NOW);
    for part in [
        "<script",
        "javascript:",
        "src=",
        "style=",
        "<iframe",
        "<form",
    ] {
        assert!(!page.contains(part), "{part} is in\n{page}");
    }
    assert_eq!(page.matches("href=").count(), 1);
    for part in ["url(", "@import", "http"] {
        assert!(!STYLE.contains(part), "{part}");
    }
}

#[test]
fn many_nodes_are_a_grid_with_an_end() {
    let mut peers: Vec<Peer> = (0..5_000).map(|number| peer(number, State::Ok)).collect();
    peers[4_999] = peer(4_999, State::NoAnswer);
    let page = html(&status(peers), NOW);
    assert!(
        page.contains("<ol class=\"dots\">\n<li class=\"bad\" title=\"node-4999"),
        "bad ones first"
    );
    assert_eq!(page.matches("<li class=").count(), 1_000);
    assert!(page.contains("<p>and 4000 more</p>"));
    assert!(page.len() < 150_000, "{}", page.len());
}
