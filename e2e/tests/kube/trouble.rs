//! Nodes whose network doesn't work, as the cluster sees them: one for which no pod subnet is left, and one whose device
//! can't be made. The others work on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::kube::Controllers;
use tweed_lab::topology::Host;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

use crate::disruption::agent_pid;
use crate::scene::{Scene, in_kubelet_time};
use crate::{events, nodes, workload};

/// The minute that the agent waits, and what a busy machine adds.
const MARKED: Duration = Duration::from_secs(100);
/// The agent retries at the latest after half a minute.
const HEALED: Duration = Duration::from_secs(45);
/// What the node lifecycle controller makes of the condition.
const TAINT: &str = "node.kubernetes.io/network-unavailable";
/// Nodes that take all free pod subnets.
const EATERS: [&str; 2] = ["eater1", "eater2"];

/// Both nodes are marked after a minute, in which a hundred pods come and go; and work again when the cause is gone.
pub(crate) fn marked(scene: &mut Scene<'_>) -> Result<()> {
    let lab = scene.lab;
    let [_, broken, starved] = &lab.hosts[..] else {
        unreachable!("three nodes")
    };
    starve(scene)?;
    take_device(broken)?;
    let start = Instant::now();
    workload::many(scene)?;
    for host in [broken, starved] {
        let rest = MARKED.saturating_sub(start.elapsed());
        let api = &scene.cluster.api;
        let (condition, _) = events::unavailable(api, host.name(), "True", rest)?;
        println!(
            "  {}: {} ({}) within {:.0?}",
            host.name(),
            condition["reason"],
            condition["message"],
            start.elapsed()
        );
        ensure!(condition["reason"] == "TweedIsDown", "{condition}");
        tainted(scene, host, true)?;
    }
    // The others' probes get no answer through its tunnel.
    let (healthy, addr) = (lab.hosts[0].name(), broken.v4().to_string());
    events::said(&scene.cluster.api, healthy, "PeerUnreachable", &addr)?;
    give_device_back(scene, broken)?;
    feed(scene)
}

/// Deletes a node, has its pod subnet and all others given away, and lets it register again.
fn starve(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[2];
    let networks = "10.244.0.0/22,fd00:10:244::/62".to_owned();
    let small = Controllers {
        networks,
        ..Controllers::dual()
    };
    scene.cluster.api.run_controllers(&small)?;
    nodes::leave(scene, 2)?;
    for name in EATERS {
        // The taint keeps the DaemonSets from it.
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "spec": { "taints": [{ "key": "example.com/eater", "effect": "NoSchedule" }] },
        });
        scene.cluster.api.apply(&node.to_string())?;
        in_kubelet_time("it has a pod subnet", || {
            let node = scene.cluster.api.get(&["node", name])?;
            ensure!(node["spec"]["podCIDR"].is_string(), "none");
            Ok(())
        })?;
    }
    scene.cluster.nodes[2].run_kubelet()?;
    let api = &scene.cluster.api;
    in_kubelet_time("the node is there", || {
        api.kubectl(&["cordon", host.name()])
    })?;
    let start = Instant::now();
    let text = "4 other nodes have one, so the range is probably used up";
    in_kubelet_time("the Event is there", || {
        events::said(api, host.name(), "PodCIDRRangeExhausted", text)
    })?;
    println!(
        "  the node without a pod subnet said so after {:.1?}",
        start.elapsed()
    );
    eventually("status says so", || {
        let status = scene.status(host)?;
        let (waiting, lease) = (status["waiting"].to_string(), status["lease"].to_string());
        ensure!(waiting.contains(text) || lease.contains(text), "{status}");
        Ok(())
    })
}

/// Frees the subnets: the node gets one, and its pods do.
fn feed(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[2];
    let start = Instant::now();
    let api = &scene.cluster.api;
    api.kubectl(&[&["delete", "node"], &EATERS[..]].concat())?;
    api.kubectl(&["uncordon", host.name()])?;
    let mut looks = 0;
    in_kubelet_time("the node has a pod subnet", || {
        // The controller manager looks again when the Node changes, and else ever more seldom.
        looks += 1;
        let label = format!("looks={looks}");
        api.kubectl(&["label", "--overwrite", "node", host.name(), &label])?;
        scene.subnet(host, Family::V4)
    })?;
    events::unavailable(api, host.name(), "False", MARKED)?;
    println!(
        "  the node without a pod subnet works {:.1?} after one was freed",
        start.elapsed()
    );
    tainted(scene, host, false)?;
    api.kubectl(&["label", "node", host.name(), "looks-"])?;
    scene.cluster.nodes_ready()?;
    nodes::renew_pods(scene, 2)?;
    scene.agents()?;
    scene.cluster.api.run_controllers(&Controllers::dual())
}

/// Another program takes VNI and port: the device can't be made any more. The agent would be quicker.
fn take_device(host: &Host) -> Result<()> {
    let pid = agent_pid(host)?;
    host.sh(&format!("kill -STOP {pid}"))?;
    host.sh("ip link del flannel.1")?;
    host.sh("ip link add other type vxlan id 1 dstport 8472 dev eth0 nolearning")?;
    host.sh(&format!("kill -CONT {pid}")).map(drop)
}

fn give_device_back(scene: &Scene<'_>, host: &Host) -> Result<()> {
    let start = Instant::now();
    host.sh("ip link del other")?;
    let api = &scene.cluster.api;
    events::unavailable(api, host.name(), "False", HEALED)?;
    println!(
        "  {} works {:.1?} after the other program's device went",
        host.name(),
        start.elapsed()
    );
    tainted(scene, host, false)
}

fn tainted(scene: &Scene<'_>, host: &Host, wanted: bool) -> Result<()> {
    timed("the taint follows the condition", HEALED, || {
        let node = scene.cluster.api.get(&["node", host.name()])?;
        let taints = node["spec"]["taints"].to_string();
        ensure!(taints.contains(TAINT) == wanted, "{taints}");
        Ok(())
    })
    .map(drop)
}
