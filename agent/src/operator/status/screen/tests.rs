use tweed_model::Dual;

use super::*;
use crate::daemon::peers::{Peer, Standing as PeerStanding};
use crate::daemon::status::parts::Repair;
use crate::daemon::status::{HostWarning, RefusedLease};

const NOW: u64 = 1_709_175_127;

fn status() -> Status {
    let mut status = Status {
        version: "1.0".to_owned(),
        pid: Some(4660),
        started: Some(NOW - 345_600),
        ready: true,
        ready_since: Some(NOW - 240),
        network_name: "tweed".to_owned(),
        store: "etcd http://192.0.2.1:2379".to_owned(),
        in_sync: true,
        lease: Standing::Held,
        store_answered: Some(NOW - 1),
        lease_renewed: Some(NOW - 120),
        subnets: Dual::of_nets(["10.244.31.0/24".parse().expect("a subnet")]),
        public: Dual::of_addrs(["192.0.2.11".parse().expect("an address")]),
        uplink: Some("eth0".to_owned()),
        uplink_mtu: Some(1500),
        backend: Some("vxlan".to_owned()),
        mtu: Some(1450),
        bridges: vec![BridgeStatus {
            name: "cni0".to_owned(),
            addrs: vec!["10.244.31.1/24".parse().expect("an address")],
            pods: 7,
        }],
        peers: 1,
        sandbox: vec!["system calls".to_owned()],
        trust: Some("subnets".to_owned()),
        peer_list: Some(vec![peer()]),
        ..Status::default()
    };
    status.kernel.programmed = true;
    status.kernel.checked = Some(NOW - 12);
    status.kernel.last_repair = Some(Repair {
        at: Some(NOW - 7_200),
        what: "route 10.244.86.0/24".to_owned(),
    });
    status
}

fn peer() -> Peer {
    Peer {
        lease: "10.244.86.0-24".to_owned(),
        node: None,
        public: Dual::of_addrs(["192.0.2.12".parse().expect("an address")]),
        subnets: Dual::of_nets(["10.244.86.0/24".parse().expect("a subnet")]),
        backend: "vxlan".to_owned(),
        seen: Some(NOW - 240),
        created: 7,
        state: PeerStanding::Peer,
        reason: None,
        kind: None,
        traffic: Vec::new(),
        probe: None,
    }
}

fn shown(status: &Status, all: bool) -> String {
    let now = NOW;
    Screen { status, all, now }.to_string()
}

#[test]
fn a_node_that_is_well_has_a_short_screen_of_80_columns() {
    let text = shown(&status(), false);
    let expected = "\
ready    yes, since 02:48:07 UTC (4 m)
agent    tweedd 1.0, pid 4660, up 4 d
store    etcd http://192.0.2.1:2379, in sync, last answered 1 s ago
lease    10.244.31.0/24 held, renewed 2 m ago
uplink   eth0 up, announced as 192.0.2.11, MTU 1500
backend  vxlan, pod MTU 1450
bridge   cni0 10.244.31.1/24, 7 pods
peers    1
kernel   as wanted, checked 12 s ago; last repair 2 h ago: route 10.244.86.0/24

PEER        SUBNET          BACKEND  PROBE  SINCE
192.0.2.12  10.244.86.0/24  vxlan    -      4 m
";
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn what_is_wrong_stands_first() {
    let mut status = status();
    status.ready = false;
    status.not_ready = vec!["kernel: add route: no".to_owned()];
    status.warnings = vec![HostWarning::new("forward", "a firewall drops")];
    status.kernel.fights.insert("link flannel.1".to_owned(), 3);
    let text = shown(&status, false);
    let firsts: Vec<&str> = text
        .lines()
        .map(|line| line.split("  ").next().unwrap_or_default())
        .collect();
    let wanted = ["ready", "", "agent", "warning", "fight", "store"];
    assert_eq!(firsts[..6], wanted, "{text}");
}

#[test]
fn a_refused_lease_is_named_once() {
    let mut status = status();
    let reason = "outside of the network".to_owned();
    status.refused = vec![RefusedLease {
        lease: "10.9.0.0-24".to_owned(),
        reason: reason.clone(),
        kind: "outside".to_owned(),
    }];
    status.peer_list = Some(vec![Peer {
        state: PeerStanding::Refused,
        reason: Some(reason.clone()),
        ..peer()
    }]);
    assert_eq!(shown(&status, false).matches(&reason).count(), 1);
    status.peer_list = None;
    assert_eq!(shown(&status, false).matches(&reason).count(), 1);
}

#[test]
fn what_is_as_it_should_be_has_rows_when_asked() {
    let rows = [
        "network  tweed",
        "passes   ",
        "sandbox  system calls",
        "trust    ",
    ];
    let (short, all) = (shown(&status(), false), shown(&status(), true));
    for row in rows {
        assert!(all.contains(row) && !short.contains(row), "{row}: {all}");
    }
    let open = Status {
        sandbox: Vec::new(),
        ..status()
    };
    assert!(shown(&open, false).contains("sandbox  off\n"));
}

#[test]
fn an_agent_that_does_not_answer_says_nothing_of_itself() {
    let silent = Status {
        silent: true,
        ready: false,
        lease: Standing::Saved,
        ..status()
    };
    let text = shown(&silent, false);
    assert!(
        text.contains("agent    pid 4660, does not answer"),
        "{text}"
    );
    assert!(
        text.contains("10.244.31.0/24 (as it was held last)"),
        "{text}"
    );
    assert!(
        !text.contains("kernel ") && !text.contains("in sync"),
        "{text}"
    );
}
