//! Nodes that leave and come back.

use anyhow::{Result, ensure};
use ipnet::IpNet;
use tweed_e2e::traffic;

use crate::scene::{Scene, patiently};

/// A node is deleted and registers again: it gets another pod subnet, new pods are there, and all talk.
pub(crate) fn readded(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[2];
    let subnet = |scene: &Scene<'_>| -> Result<String> {
        let node = scene.cluster.api.get(&["node", host.name()])?;
        let subnet = node["spec"]["podCIDR"].as_str().unwrap_or_default();
        ensure!(!subnet.is_empty(), "no pod subnet yet");
        Ok(subnet.to_owned())
    };
    let before = subnet(scene)?;
    scene.cluster.nodes[2].stop_kubelet();
    scene
        .cluster
        .api
        .kubectl(&["delete", "node", host.name()])?;
    patiently("the others forget the node", || {
        let routes = scene.lab.hosts[0].sh(&format!("ip route show {before}"))?;
        ensure!(routes.is_empty(), "{routes}");
        Ok(())
    })?;
    scene.cluster.nodes[2].run_kubelet()?;
    let after = patiently("the node has a pod subnet", || subnet(scene))?;
    ensure!(after != before, "the node got its old subnet {before}");
    scene.cluster.nodes_ready()?;
    scene.agents()?;
    // Kubernetes leaves the pods as they are, and while one has an address of the old subnet the bridge keeps it.
    for namespace in ["default", "kube-system"] {
        let selector = format!("--field-selector=spec.nodeName={}", host.name());
        let words = ["delete", "pod", "--namespace", namespace, &selector];
        scene.cluster.api.kubectl(&words)?;
    }
    scene.pods = scene.cluster.web("web")?;
    let addr = scene.pods[2].v4()?;
    let subnet: IpNet = after.parse()?;
    ensure!(subnet.contains(&addr), "{addr} is not of {after}");
    traffic::ping(scene.lab.hosts[0].place(), scene.pods[2].v4()?)?;
    scene.talks()
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
