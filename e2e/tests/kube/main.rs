//! Scenarios on a real Kubernetes. Clusters are dear, so the scenarios of one share it and run one after another, and
//! those with smaller clusters of their own beside them; this program has its own order of them instead of the test
//! harness's.

mod agents;
mod annotations;
mod byhand;
mod connectivity;
mod control;
mod disruption;
mod events;
mod harness;
mod hybrid;
mod lists;
mod migration;
mod moves;
mod nodes;
mod proxy;
mod reach;
mod restored;
mod scene;
mod store;
mod subnets;
mod trouble;
mod udp;
mod uninstall;
mod workload;

use std::process::ExitCode;
use std::thread;

use anyhow::{Result, anyhow};
use harness::Report;
use scene::Scene;
use tweed_lab::topology::Topology;

type Scenario = (&'static str, fn(&mut Scene<'_>) -> Result<()>);

/// On the shared cluster, in this order: each leaves it whole.
const SHARED: &[Scenario] = &[
    (
        "pods_of_all_nodes_see_each_others_own_addresses",
        reach::pods,
    ),
    (
        "nodes_reach_all_pods_and_see_their_own_pods_addresses",
        reach::nodes,
    ),
    (
        "services_are_reached_by_cluster_address_and_node_port",
        reach::services,
    ),
    ("pods_of_all_nodes_resolve_names", reach::names),
    (
        "a_host_port_leads_to_its_pod_from_everywhere",
        workload::host_ports,
    ),
    (
        "the_connectivity_test_names_what_is_broken_and_nothing_else",
        connectivity::test,
    ),
    (
        "the_connectivity_test_waits_for_a_service_that_a_busy_node_does_not_know_yet",
        connectivity::late,
    ),
    (
        "edited_and_removed_annotations_come_back",
        annotations::repaired,
    ),
    (
        "an_agent_changes_only_its_own_nodes_annotations",
        annotations::guarded,
    ),
    (
        "a_rolling_restart_of_the_agents_loses_no_packet",
        disruption::rollout,
    ),
    (
        "an_upgrade_to_another_image_loses_no_packet",
        disruption::upgrade,
    ),
    ("a_killed_agent_loses_no_packet", disruption::killed),
    (
        "a_deleted_device_is_back_within_a_second_under_traffic",
        disruption::device_deleted,
    ),
    (
        "a_list_that_sorts_before_ours_is_told_by_an_event_and_by_status",
        lists::shadowed,
    ),
    (
        "pods_behind_a_flannel_node_and_pods_of_the_cluster_reach_each_other",
        hybrid::flannel_peer,
    ),
    // Before a node is added again: after that, nodes were ready only 52 s after the API server was, not 0.2 s.
    (
        "an_api_server_that_is_away_for_a_minute_costs_no_packet",
        disruption::away,
    ),
    (
        "restarts_of_kubelet_and_containerd_keep_the_pods",
        nodes::runtime_restarted,
    ),
    (
        "a_node_deleted_and_added_again_works_in_its_new_subnet",
        nodes::readded,
    ),
    (
        "a_hundred_pods_come_and_go_while_nodes_without_network_are_marked_and_these_recover",
        trouble::marked,
    ),
    (
        "services_and_host_ports_work_with_kube_proxy_in_iptables_mode",
        proxy::iptables,
    ),
    (
        "a_cluster_moves_from_vxlan_to_udp_without_a_lost_packet",
        udp::moved,
    ),
    (
        "over_udp_unprivileged_agents_have_everything_reached_as_over_vxlan",
        udp::reached,
    ),
    (
        "a_rolling_restart_cuts_each_node_of_the_udp_backend_off_for_seconds_at_most",
        udp::rollout,
    ),
    (
        "a_deleted_tun_device_is_back_within_a_second_under_traffic",
        udp::device_deleted,
    ),
    (
        "an_agent_that_is_refused_the_tun_device_says_what_to_do",
        udp::refused,
    ),
    (
        "an_update_without_the_tun_device_stops_at_the_first_node_which_says_what_is_missing",
        udp::without_device,
    ),
    (
        "deleting_the_manifest_and_cleaning_up_leaves_nothing",
        uninstall::leaves_nothing,
    ),
];

fn main() -> ExitCode {
    let mut report = Report::from_args();
    let others = thread::scope(|scope| {
        // Most scenarios wait most of the time, so those with clusters of their own run beside the shared one.
        let others = scope.spawn(apart);
        shared(&mut report);
        others.join()
    });
    match others {
        Ok(others) => report.merge(others),
        Err(_) => report.fail("clusters_of_their_own", &anyhow!("panicked")),
    }
    report.finish()
}

/// Scenarios with clusters of their own, one after the other.
fn apart() -> Report {
    let mut report = Report::from_args();
    control::play(&mut report);
    store::play(&mut report);
    subnets::play(&mut report);
    byhand::play(&mut report);
    migration::play(&mut report);
    report
}

fn shared(report: &mut Report) {
    let names: Vec<_> = SHARED.iter().map(|(name, _)| *name).collect();
    if !report.wants(&names) {
        return;
    }
    let lab = match Topology::hosts(3).outside().build() {
        Ok(lab) => lab,
        Err(error) => return report.fail("the_shared_cluster_starts", &error),
    };
    let mut scene = match Scene::start(&lab) {
        Ok(scene) => scene,
        Err(error) => return report.fail("the_shared_cluster_starts", &error),
    };
    for (name, scenario) in SHARED {
        if !report.run(name, || scenario(&mut scene)) {
            eprintln!("{}", scene.describe());
        }
    }
}
