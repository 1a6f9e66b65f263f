//! The control plane alone: what the lease store needs.

use anyhow::{Context, Result, ensure};
use tweed_lab::kube::{ApiServer, Controllers};
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

use crate::harness::Report;

pub(crate) fn play(report: &mut Report) {
    report.run("a_node_object_gets_pod_subnets_of_both_families", || {
        Topology::hosts(1).play(|lab| {
            let mut api = ApiServer::start(lab)?;
            api.run_controllers(&Controllers::dual())?;
            api.apply("{apiVersion: v1, kind: Node, metadata: {name: host1}}")?;
            eventually("the node has pod subnets", || {
                let node = api.get(&["node", "host1"])?;
                let subnets = node["spec"]["podCIDRs"].as_array().context("none")?;
                ensure!(subnets.len() == 2, "{subnets:?}");
                Ok(())
            })
        })
    });
    report.run("an_api_server_that_was_away_has_its_objects", || {
        Topology::hosts(1).play(restart)
    });
}

fn restart(lab: &tweed_lab::topology::Lab) -> Result<()> {
    let mut api = ApiServer::start(lab)?;
    api.apply("{apiVersion: v1, kind: Node, metadata: {name: host1}}")?;
    api.stop()?;
    ensure!(
        api.kubectl(&["get", "nodes"]).is_err(),
        "a stopped API server answers"
    );
    api.resume()?;
    let names = api.kubectl(&["get", "nodes", "--output=name"])?;
    ensure!(names.trim() == "node/host1", "{names}");
    Ok(())
}
