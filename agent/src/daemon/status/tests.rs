use tweed_plan::Held;
use tweed_reconcile::Failure;

use super::*;

fn now() -> Instant {
    Instant::now()
}

/// A node with which all is well.
fn ready() -> Status {
    let mut status = Status {
        in_sync: true,
        subnet_file: Some("/run/flannel/subnet.env".to_owned()),
        ..Status::default()
    };
    status.set_lease(Standing::Held, now());
    status.add_outcome(&Outcome {
        full: true,
        ..Outcome::default()
    });
    status
}

fn reasons(status: &Status) -> String {
    status.judged(now()).not_ready.join("; ")
}

#[test]
fn leased_programmed_in_sync_and_written_is_ready() {
    assert!(ready().judged(now()).ready);
}

#[test]
fn a_daemon_that_waits_says_for_what_and_nothing_else() {
    let status = Status {
        waiting: Some("no configuration".to_owned()),
        ..Status::default()
    };
    assert_eq!(reasons(&status), "waiting: no configuration");
}

#[test]
fn whatever_is_missing_is_named() {
    let mut status = ready();
    status.in_sync = false;
    assert_eq!(reasons(&status), "no full list of leases yet");
    let mut status = ready();
    status.subnet_file = None;
    assert_eq!(reasons(&status), "the subnet file is not written yet");
    status.subnet_file_error = Some("create folder /run/flannel: read-only file system".to_owned());
    assert_eq!(
        reasons(&status),
        "subnet file: create folder /run/flannel: read-only file system"
    );
}

#[test]
fn a_node_whose_uplink_went_is_not_ready() {
    let mut status = ready();
    status.no_uplink = Some("no uplink: there is no interface eth0".to_owned());
    assert_eq!(reasons(&status), "no uplink: there is no interface eth0");
}

#[test]
fn what_the_kernel_refuses_turns_it_red_until_a_clean_pass() {
    let mut status = ready();
    let failure = Failure {
        op: "add link flannel.1".to_owned(),
        error: "not supported".to_owned(),
    };
    status.add_outcome(&Outcome {
        failed: vec![failure],
        ..Outcome::default()
    });
    assert_eq!(
        reasons(&status),
        "kernel: add link flannel.1: not supported"
    );
    status.add_outcome(&Outcome {
        full: true,
        ..Outcome::default()
    });
    assert_eq!(reasons(&status), "");
}

#[test]
fn deletions_held_back_turn_it_red() {
    let mut status = ready();
    let held = Some(Held::ForOperator { losing: 9 });
    status.add_outcome(&Outcome {
        held,
        ..Outcome::default()
    });
    assert!(
        reasons(&status).contains("tweedd confirm"),
        "{}",
        reasons(&status)
    );
}

#[test]
fn a_short_outage_of_the_store_is_bridged_and_a_long_one_is_not() {
    let mut status = ready();
    let began = now();
    status.set_lease(Standing::Unsure("refused".to_owned()), began);
    assert!(status.judged(began + Duration::from_secs(9)).ready);
    status.set_lease(
        Standing::Unsure("timed out".to_owned()),
        began + Duration::from_secs(9),
    );
    let later = status.judged(began + Duration::from_secs(11));
    assert_eq!(
        later.not_ready,
        ["store out of reach: timed out"],
        "counted from the beginning"
    );
    status.set_lease(Standing::Held, began + Duration::from_secs(12));
    assert!(status.judged(began + Duration::from_secs(60)).ready);
}

#[test]
fn a_lost_a_taken_and_a_saved_lease_turn_it_red_at_once() {
    for standing in [
        Standing::None,
        Standing::Saved,
        Standing::Lost("deleted".to_owned()),
        Standing::Taken("held by 10.0.0.9".to_owned()),
    ] {
        let mut status = ready();
        status.set_lease(standing.clone(), now());
        assert!(!status.judged(now()).ready, "{standing:?}");
    }
}

#[test]
fn a_status_survives_the_way_through_json() {
    let mut status = ready();
    status.set_lease(Standing::Lost("deleted".to_owned()), now());
    let text = serde_json::to_string(&status.judged(now())).expect("serialized");
    let back: Status = serde_json::from_str(&text).expect("read back");
    assert_eq!(serde_json::to_string(&back).expect("serialized"), text);
}

#[test]
fn without_a_lease_nobody_knows_the_way_to_this_node() {
    let mut status = ready();
    assert_eq!(status.network_down(), None);
    status.set_lease(Standing::Unsure("refused".to_owned()), now());
    assert_eq!(status.network_down(), None, "peers keep what they know");
    status.set_lease(Standing::Lost("no podCIDR".to_owned()), now());
    assert_eq!(
        status.network_down().as_deref(),
        Some("lease lost: no podCIDR")
    );
}

#[test]
fn a_data_plane_that_is_only_accepted_and_fails_makes_a_node_not_ready_but_cuts_nobody_off() {
    let mut status = ready();
    status.data_plane_error = Some("the port is taken".to_owned());
    let why = status.network_down();
    assert_eq!(why.as_deref(), Some("data plane: the port is taken"));
    status.data_plane_carries = true;
    assert_eq!(status.network_down(), None, "one family is carried");
    status.data_plane_carries = false;
    status.accepts = vec!["udp".to_owned()];
    assert_eq!(status.network_down(), None, "peers come by the own backend");
    assert!(reasons(&status).contains("the port is taken"));
}

#[test]
fn a_kernel_without_the_bridge_filter_makes_the_node_not_ready_and_another_firewall_does_not() {
    let mut status = ready();
    status.warnings = vec![HostWarning::new("forward", "a firewall")];
    assert!(status.judged(now()).ready);
    status
        .warnings
        .push(HostWarning::new("br_netfilter", "a module"));
    assert_eq!(reasons(&status), "a module");
    assert_eq!(
        status.network_down(),
        None,
        "pods of other nodes are reached"
    );
}

#[test]
fn a_flood_of_bad_entries_is_served_in_part_and_counted_whole() {
    let mut status = ready();
    for n in 0..10_000 {
        status.broken.insert(format!("key{n}"), "why".to_owned());
        let failure = format!("put route {n}: why");
        status.kernel.failed.push(failure);
    }
    let served = status.judged(now()).served();
    assert_eq!(served.broken.len(), NAMED);
    assert_eq!(served.more_bad_entries, 10_000 - NAMED);
    assert_eq!(served.kernel.failed.len(), NAMED + 1);
    assert!(served.not_ready.len() <= NAMED + 1);
    let small = ready().judged(now()).served();
    assert_eq!(small.more_bad_entries, 0);
}

#[test]
fn a_node_whose_pods_sit_on_an_earlier_subnet_is_not_ready_and_says_so() {
    let mut status = ready();
    status.earlier_subnet = Some("pods sit on an earlier subnet".to_owned());
    assert_eq!(reasons(&status), "pods sit on an earlier subnet");
    // The pods of its own subnet reach others all the same.
    assert_eq!(status.network_down(), None);
}
