//! Scenarios on a real Kubernetes. Clusters are dear, so the scenarios of one share it and run one after another; this
//! program has its own order of them instead of the test harness's.

mod agents;
mod annotations;
mod byhand;
mod connectivity;
mod control;
mod disruption;
mod harness;
mod nodes;
mod reach;
mod scene;
mod store;
mod subnets;
mod uninstall;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use harness::Report;
use scene::Scene;
use tweed_e2e::topology::Topology;

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
    ("a_killed_agent_loses_no_packet", disruption::killed),
    (
        "restarts_of_kubelet_and_containerd_keep_the_pods",
        nodes::runtime_restarted,
    ),
    (
        "a_node_deleted_and_added_again_works_in_its_new_subnet",
        nodes::readded,
    ),
    (
        "an_api_server_that_is_away_for_a_minute_costs_no_packet",
        disruption::away,
    ),
    (
        "a_deployment_of_a_hundred_pods_comes_and_goes",
        workload::many,
    ),
    (
        "deleting_the_manifest_and_cleaning_up_leaves_nothing",
        uninstall::leaves_nothing,
    ),
];

fn main() -> ExitCode {
    let mut report = Report::from_args();
    control::play(&mut report);
    store::play(&mut report);
    subnets::play(&mut report);
    byhand::play(&mut report);
    shared(&mut report);
    report.finish()
}

fn shared(report: &mut Report) {
    let names: Vec<_> = SHARED.iter().map(|(name, _)| *name).collect();
    if !report.wants(&names) {
        return;
    }
    let lab = match Topology::hosts(3).build() {
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
