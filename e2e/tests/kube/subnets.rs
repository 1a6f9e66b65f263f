//! Which subnets a node gets: of one family or both, in any order, late, or not at all.

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::kube::Controllers;
use tweed_lab::launch::{config, vxlan, vxlan_dual};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::agents::{PREFIX, Scene};
use crate::events;
use crate::harness::Report;

pub(crate) fn play(report: &mut Report) {
    report.run("pod_cidrs_of_both_families_count_in_any_order", || {
        Topology::hosts(2).play(dual)
    });
    report.run("nodes_of_ipv6_alone_reach_each_other", || {
        Topology::hosts(2).play(v6)
    });
    report.run("a_missing_pod_cidr_is_told_by_an_event_and_awaited", || {
        Topology::hosts(2).play(missing)
    });
}

fn dual(lab: &Lab) -> Result<()> {
    let mut scene = Scene::start(lab, &vxlan_dual())?;
    scene.node("host1", &["fd00:10:244:1::/64", "10.244.1.0/24"])?;
    scene.node("host2", &["10.244.2.0/24", "fd00:10:244:2::/64"])?;
    scene.everywhere()?;
    for family in Family::BOTH {
        traffic::all_reach_each_other(&scene.pods, family)?;
    }
    // A flannel peer notices a change only if it sees one in both families.
    let before = scene.annotations("host1")?;
    let overwrite = format!("{PREFIX}/public-ipv6-overwrite=fd12:c612::77");
    scene
        .api
        .kubectl(&["annotate", "node", "host1", &overwrite])?;
    eventually("both families' texts change", || {
        let after = scene.annotations("host1")?;
        for name in ["backend-data", "public-ipv6"] {
            let key = format!("{PREFIX}/{name}");
            ensure!(after[&key] != before[&key], "{name} is as before: {after}");
        }
        Ok(())
    })
}

fn v6(lab: &Lab) -> Result<()> {
    let network = config(&[Family::V6], &json!({ "Type": "vxlan" }));
    let mut scene = Scene::start(lab, &network)?;
    scene.node("host1", &["fd00:10:244:1::/64"])?;
    scene.node("host2", &["fd00:10:244:2::/64"])?;
    scene.everywhere()?;
    let written = scene.annotations("host1")?;
    ensure!(
        written.get(format!("{PREFIX}/public-ip")).is_none(),
        "{written}"
    );
    traffic::all_reach_each_other(&scene.pods, Family::V6)
}

fn missing(lab: &Lab) -> Result<()> {
    let mut scene = Scene::start(lab, &vxlan())?;
    scene.node("host1", &[])?;
    scene.node("host2", &["10.99.0.0/24"])?;
    scene.agent(0)?;
    scene.agent(1)?;
    events::said(&scene.api, "host1", "PodCIDRMissing", "no podCIDR yet")?;
    let outside = "10.99.0.0/24 of node host2 is outside the network 10.244.0.0/16";
    events::said(&scene.api, "host2", "PodCIDROutsideNetwork", outside)?;
    eventually("status tells", || {
        let status = scene.agents[1].status()?["waiting"].to_string();
        ensure!(status.contains(outside), "{status}");
        Ok(())
    })?;
    // With a look at the other nodes more can be said.
    events::said(
        &scene.api,
        "host1",
        "PodCIDRRangeExhausted",
        "probably used up",
    )?;
    // When allocation is repaired, all goes on by itself. The controller manager refuses to start over a subnet that
    // isn't of its range.
    scene.api.kubectl(&["delete", "node", "host2"])?;
    scene.api.run_controllers(&Controllers::default())?;
    scene.agents[0].ready()?;
    Ok(())
}
