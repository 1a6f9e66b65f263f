//! The lab itself, shown with a pod network made by hand: host routes and our plugin, no agent.

use std::fs;
use std::os::unix;

use anyhow::{Result, ensure};
use tweed_lab::kube::{KubeCluster, Node, dns};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::harness::Report;

const NAME: &str = "a_pod_network_made_by_hand_carries_a_cluster";

pub(crate) fn play(report: &mut Report) {
    report.run(NAME, || Topology::hosts(2).play(cluster));
}

fn cluster(lab: &Lab) -> Result<()> {
    let cluster = KubeCluster::start(lab, &[Family::V4], &[])?;
    let outcome = scenario(lab, &cluster);
    if outcome.is_err() {
        eprintln!("{}", cluster.describe());
    }
    outcome
}

fn scenario(lab: &Lab, cluster: &KubeCluster<'_>) -> Result<()> {
    for node in &cluster.nodes {
        lay_out(lab, cluster, node)?;
    }
    let taken = cluster.nodes_ready()?;
    println!("nodes ready {taken:.1?} after the configuration appeared");
    let pods = cluster.web("web")?;
    traffic::all_reach_each_other(&pods, Family::V4)?;
    let logs = cluster.api.kubectl(&["logs", "daemonset/web"])?;
    ensure!(logs.contains("8080") || logs.is_empty(), "{logs}");
    let name = cluster
        .api
        .kubectl(&["exec", &pods[1].id, "--", "/bin/hostname"])?;
    ensure!(name.trim() == pods[1].id, "{name}");
    cluster.api.apply(&dns::objects())?;
    cluster.pods_ready("kube-system", "k8s-app=kube-dns", 1)?;
    eventually("the API server's service has a name", || {
        let words = [
            "nslookup",
            "kubernetes.default.svc.cluster.local",
            dns::ADDR,
        ];
        let answer = pods[0].place().cmd(["/bin/busybox"].iter().chain(&words))?;
        ensure!(answer.contains("10.96.0.1"), "{answer}");
        Ok(())
    })
}

/// Writes `subnet.env`, routes to the other nodes, and at last the network configuration.
fn lay_out(lab: &Lab, cluster: &KubeCluster<'_>, node: &Node<'_>) -> Result<()> {
    let subnet = |name: &str| -> Result<String> {
        eventually("the node has a pod subnet", || {
            let node = cluster.api.get(&["node", name])?;
            let subnet = node["spec"]["podCIDR"].as_str().unwrap_or_default();
            ensure!(!subnet.is_empty(), "none");
            Ok(subnet.to_owned())
        })
    };
    let host = node.host();
    for other in lab.hosts.iter().filter(|other| other.name() != node.name()) {
        let subnet = subnet(other.name())?;
        host.sh(&format!("ip route add {subnet} via {}", other.v4()))?;
    }
    let own = subnet(node.name())?;
    // Nothing masquerades here, so the API server must know the way to pods.
    let switch = lab.switch.place();
    switch.sh(&format!("ip route add {own} via {}", host.v4()))?;
    let own = own.replace(".0/24", ".1/24");
    fs::create_dir_all(host.path("/run/flannel"))?;
    fs::write(
        host.path("/run/flannel/subnet.env"),
        format!(
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={own}\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n"
        ),
    )?;
    // containerd attaches `lo` by the plugin of that name.
    for name in ["tweed", "loopback"] {
        let link = host.path(format!("/opt/cni/bin/{name}"));
        unix::fs::symlink(&lab.binaries.plugin, link)?;
    }
    fs::write(
        host.path("/etc/cni/net.d/10-flannel.conflist"),
        r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"tweed","delegate":{"hairpinMode":true,"isDefaultGateway":true}}]}"#,
    )?;
    Ok(())
}
