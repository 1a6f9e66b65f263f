use tweed_plan::Held;
use tweed_reconcile::{AttachedOutcome, Failure, Outcome};

use super::*;
use crate::daemon::status::parts::Stops;
use crate::daemon::status::{HostWarning, NAMED, Status};

fn now() -> Instant {
    Instant::now()
}

/// A node with which all is well.
fn ready() -> Facts {
    let mut facts = Facts::default();
    facts.cluster.in_sync = true;
    facts.subnet_file.path = Some("/run/flannel/subnet.env".to_owned());
    facts.lease.set(Standing::Held, now());
    facts.kernel.add(&Outcome {
        full: true,
        ..Outcome::default()
    });
    facts
}

fn reasons(facts: &Facts) -> String {
    not_ready(facts, now()).join("; ")
}

#[test]
fn leased_programmed_in_sync_and_written_is_ready() {
    assert!(Status::of(&ready(), now()).ready);
}

#[test]
fn a_daemon_that_waits_says_for_what_and_nothing_else() {
    let facts = Facts {
        waiting: Some("no configuration".to_owned()),
        ..Facts::default()
    };
    assert_eq!(reasons(&facts), "waiting: no configuration");
}

#[test]
fn whatever_is_missing_is_named() {
    let mut facts = ready();
    facts.cluster.in_sync = false;
    assert_eq!(reasons(&facts), "no full list of leases yet");
    let mut facts = ready();
    facts.subnet_file.path = None;
    assert_eq!(reasons(&facts), "the subnet file is not written yet");
    facts.subnet_file.error = Some("create folder /run/flannel: read-only file system".to_owned());
    assert_eq!(
        reasons(&facts),
        "subnet file: create folder /run/flannel: read-only file system"
    );
}

#[test]
fn a_node_whose_uplink_went_is_not_ready() {
    let mut facts = ready();
    facts.no_uplink = Some("no uplink: there is no interface eth0".to_owned());
    assert_eq!(reasons(&facts), "no uplink: there is no interface eth0");
}

#[test]
fn what_the_kernel_refuses_turns_it_red_until_a_clean_pass() {
    let mut facts = ready();
    let failure = Failure {
        op: "add link flannel.1".to_owned(),
        error: "not supported".to_owned(),
    };
    facts.kernel.add(&Outcome {
        failed: vec![failure],
        ..Outcome::default()
    });
    assert_eq!(reasons(&facts), "kernel: add link flannel.1: not supported");
    facts.kernel.add(&Outcome {
        full: true,
        ..Outcome::default()
    });
    assert_eq!(reasons(&facts), "");
}

#[test]
fn deletions_held_back_turn_it_red() {
    let mut facts = ready();
    let held = Some(Held::ForOperator { losing: 9 });
    facts.kernel.add(&Outcome {
        held,
        ..Outcome::default()
    });
    assert!(
        reasons(&facts).contains("tweedd confirm"),
        "{}",
        reasons(&facts)
    );
}

#[test]
fn a_short_outage_of_the_store_is_bridged_and_a_long_one_is_not() {
    let mut facts = ready();
    let began = now();
    facts
        .lease
        .set(Standing::Unsure("refused".to_owned()), began);
    assert!(Status::of(&facts, began + Duration::from_secs(9)).ready);
    facts.lease.set(
        Standing::Unsure("timed out".to_owned()),
        began + Duration::from_secs(9),
    );
    let later = Status::of(&facts, began + Duration::from_secs(11));
    assert_eq!(
        later.not_ready,
        ["store out of reach: timed out"],
        "counted from the beginning"
    );
    facts
        .lease
        .set(Standing::Held, began + Duration::from_secs(12));
    assert!(Status::of(&facts, began + Duration::from_secs(60)).ready);
}

#[test]
fn nothing_is_in_sync_with_a_store_that_is_out_of_reach() {
    let mut facts = ready();
    let answered = now();
    let silent = Standing::Unsure("silent".to_owned());
    facts.lease.set(silent, answered);
    let noticed = Status::of(&facts, answered + Duration::from_secs(8));
    assert!(noticed.ready && !noticed.in_sync);
    facts.lease.set(Standing::Held, now());
    assert!(Status::of(&facts, now()).in_sync);
}

#[test]
fn a_saved_lease_that_is_not_confirmed_says_why() {
    let mut facts = ready();
    facts.lease.set(Standing::Saved, now());
    facts.lease.store_error = Some("connection refused".to_owned());
    let reason = "the store has not confirmed the saved lease: connection refused";
    assert_eq!(reasons(&facts), reason);
}

#[test]
fn a_lost_a_taken_and_a_saved_lease_turn_it_red_at_once() {
    for standing in [
        Standing::None,
        Standing::Saved,
        Standing::Lost("deleted".to_owned()),
        Standing::Taken("held by 10.0.0.9".to_owned()),
    ] {
        let mut facts = ready();
        facts.lease.set(standing.clone(), now());
        assert!(!Status::of(&facts, now()).ready, "{standing:?}");
    }
}

#[test]
fn a_status_survives_the_way_through_json() {
    let mut facts = ready();
    facts.lease.set(Standing::Lost("deleted".to_owned()), now());
    let text = serde_json::to_string(&Status::of(&facts, now())).expect("serialized");
    let back: Status = serde_json::from_str(&text).expect("read back");
    assert_eq!(serde_json::to_string(&back).expect("serialized"), text);
}

#[test]
fn without_a_lease_no_node_has_a_route_to_this_one() {
    let mut facts = ready();
    assert_eq!(network_down(&facts), None);
    facts
        .lease
        .set(Standing::Unsure("refused".to_owned()), now());
    assert_eq!(network_down(&facts), None, "peers keep what they know");
    facts
        .lease
        .set(Standing::Lost("no podCIDR".to_owned()), now());
    assert_eq!(
        network_down(&facts).as_deref(),
        Some("lease lost: no podCIDR")
    );
}

#[test]
fn a_data_plane_that_is_only_accepted_and_fails_makes_a_node_not_ready_but_cuts_no_pod_off() {
    let mut facts = ready();
    facts.data_plane.error = Some("the port is taken".to_owned());
    let why = network_down(&facts);
    assert_eq!(why.as_deref(), Some("data plane: the port is taken"));
    facts.data_plane.carries = true;
    assert_eq!(network_down(&facts), None, "one family is carried");
    facts.data_plane.carries = false;
    facts.session.accepts = vec!["udp".to_owned()];
    assert_eq!(network_down(&facts), None, "peers come by the own backend");
    assert!(reasons(&facts).contains("the port is taken"));
}

#[test]
fn a_kernel_without_the_bridge_filter_makes_the_node_not_ready_and_what_may_let_packets_pass_does_not()
 {
    let mut facts = ready();
    facts.cluster.peers = 2;
    facts.cluster.tunnelled = true;
    facts.warnings = vec![
        HostWarning::new("forward", "a firewall"),
        HostWarning::new("input", "a firewall at the tunnel's port"),
        HostWarning::new("flannel", "rules that flannel has left"),
    ];
    assert!(Status::of(&facts, now()).ready);
    assert_eq!(network_down(&facts), None);
    let module = HostWarning::new("br_netfilter", "a module").stopping(Stops::Always);
    facts.warnings.push(module);
    assert_eq!(reasons(&facts), "a module");
    assert_eq!(
        network_down(&facts),
        None,
        "pods of other nodes are reached"
    );
}

#[test]
fn a_firewall_that_surely_drops_all_makes_the_node_not_ready_where_a_peer_needs_that_way_alone() {
    let mut facts = ready();
    let firewall = |stops| vec![HostWarning::new("input", "a firewall").stopping(stops)];
    let ready = |facts: &Facts| Status::of(facts, now()).ready;
    for stops in [Stops::Forwarding, Stops::Tunnel] {
        facts.warnings = firewall(stops);
        (facts.cluster.peers, facts.cluster.tunnelled) = (0, false);
        assert!(ready(&facts), "a lone node: {stops:?}");
        (facts.cluster.peers, facts.cluster.tunnelled) = (2, true);
        assert_eq!(reasons(&facts), "a firewall", "{stops:?}");
        assert_eq!(network_down(&facts), None, "no condition of the node's");
    }
    facts.cluster.tunnelled = false;
    assert!(ready(&facts), "host-gw, or direct routes to all");
    facts.cluster.tunnelled = true;
    facts.session.accepts = vec!["udp".to_owned()];
    assert!(
        ready(&facts),
        "peers of the accepted backend come by another port"
    );
    facts.warnings = firewall(Stops::Forwarding);
    assert_eq!(reasons(&facts), "a firewall", "whatever the backend");
}

#[test]
fn a_flanneld_beside_the_agent_makes_the_node_not_ready_where_it_works_on_the_same() {
    let mut facts = ready();
    let flanneld = HostWarning::new("flanneld", "flanneld is running");
    facts.flanneld = Some(flanneld.clone());
    assert!(Status::of(&facts, now()).ready, "on another network");
    facts.flanneld = Some(flanneld.stopping(Stops::Always));
    assert_eq!(reasons(&facts), "flanneld is running");
    assert_eq!(Status::of(&facts, now()).warnings.len(), 1);
}

#[test]
fn a_flood_of_bad_entries_is_served_in_part_and_counted_whole() {
    let mut facts = ready();
    for n in 0..10_000 {
        facts
            .cluster
            .broken
            .insert(format!("key{n}"), "why".to_owned());
        let failure = format!("put route {n}: why");
        facts.kernel.failed.push(failure);
    }
    let served = Status::of(&facts, now()).served();
    assert_eq!(served.broken.len(), NAMED);
    assert_eq!(served.more_bad_entries, 10_000 - NAMED);
    assert_eq!(served.kernel.failed.len(), NAMED + 1);
    assert!(served.not_ready.len() <= NAMED + 1);
    let small = Status::of(&ready(), now()).served();
    assert_eq!(small.more_bad_entries, 0);
}

#[test]
fn a_node_whose_pods_sit_on_an_earlier_subnet_is_not_ready_and_says_so() {
    let mut facts = ready();
    facts.earlier_subnet = Some("pods sit on an earlier subnet".to_owned());
    assert_eq!(reasons(&facts), "pods sit on an earlier subnet");
    // The pods of its own subnet reach others all the same.
    assert_eq!(network_down(&facts), None);
}

#[test]
fn a_node_with_an_attachment_that_cant_be_put_right_is_not_ready_and_names_it() {
    let mut facts = ready();
    let mut outcome = AttachedOutcome {
        attachments: 2,
        ..AttachedOutcome::default()
    };
    let port = "veth1".to_owned();
    outcome.portless.insert("cbr0/abc/eth0".to_owned(), port);
    facts.attached.take(&outcome);
    let said = reasons(&facts);
    for part in ["cbr0/abc/eth0", "veth1", "delete the pod"] {
        assert!(said.contains(part), "{said}");
    }
    // The other pods reach others all the same.
    assert_eq!(network_down(&facts), None);
    facts.attached.take(&AttachedOutcome::default());
    assert_eq!(reasons(&facts), "");
}
