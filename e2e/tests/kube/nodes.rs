//! Nodes that leave and come back.

use anyhow::{Result, ensure};
use tweed_lab::traffic;
use tweed_model::Family;

use crate::scene::{Scene, in_kubelet_time};

/// A node is deleted and registers again: it gets another pod subnet, new pods are there, and all talk.
pub(crate) fn readded(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[2];
    let before = scene.subnet(host, Family::V4)?;
    leave(scene, 2)?;
    scene.cluster.nodes[2].run_kubelet()?;
    let after = in_kubelet_time("the node has a pod subnet", || {
        scene.subnet(host, Family::V4)
    })?;
    ensure!(after != before, "the node got its old subnet {before}");
    scene.cluster.nodes_ready()?;
    renew_pods(scene, 2)?;
    scene.agents().map(drop)
}

/// Replaces the pods of a node that has another pod subnet now. Kubernetes leaves them as they are, and while one has an
/// address of the old subnet the bridge keeps it, and the agent is not ready.
pub(crate) fn renew_pods(scene: &mut Scene<'_>, index: usize) -> Result<()> {
    let host = &scene.lab.hosts[index];
    for namespace in ["default", "kube-system"] {
        let selector = format!("--field-selector=spec.nodeName={}", host.name());
        let words = ["delete", "pod", "--namespace", namespace, &selector];
        scene.cluster.api.kubectl(&words)?;
    }
    scene.pods = scene.cluster.web("web")?;
    let (addr, subnet) = (scene.pods[index].v4()?, scene.subnet(host, Family::V4)?);
    ensure!(subnet.contains(&addr), "{addr} is not of {subnet}");
    traffic::ping(scene.lab.hosts[0].place(), addr)?;
    scene.talks()
}

/// Ends a node's kubelet, deletes the Node, and waits until the others have forgotten it.
pub(crate) fn leave(scene: &mut Scene<'_>, index: usize) -> Result<()> {
    let host = &scene.lab.hosts[index];
    let before = scene.subnet(host, Family::V4)?;
    scene.cluster.nodes[index].stop_kubelet();
    let api = &scene.cluster.api;
    api.kubectl(&["delete", "node", host.name()])?;
    in_kubelet_time("the others forget the node", || {
        let routes = scene.lab.hosts[0].sh(&format!("ip route show {before}"))?;
        ensure!(routes.is_empty(), "{routes}");
        Ok(())
    })
}

/// kubelet and containerd are started again: pods stay and talk.
pub(crate) fn runtime_restarted(scene: &mut Scene<'_>) -> Result<()> {
    let before: Vec<_> = scene.pods.iter().map(|pod| pod.id.clone()).collect();
    scene.cluster.nodes[0].run_containerd()?;
    scene.cluster.nodes[0].run_kubelet()?;
    scene.talks()?;
    scene.cluster.nodes_ready()?;
    let pods = scene.cluster.web("web")?;
    let after: Vec<_> = pods.iter().map(|pod| pod.id.clone()).collect();
    ensure!(before == after, "{before:?} became {after:?}");
    scene.talks()
}
