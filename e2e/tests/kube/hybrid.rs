//! A host that flannel has laid out, as a node of the cluster.

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tweed_lab::cni::Pod;
use tweed_lab::flannel::Node;
use tweed_lab::topology::Host;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::agents::PREFIX;
use crate::scene::Scene;

/// Pods of the cluster and a pod behind flannel's device on another segment reach each other, with their own addresses.
pub(crate) fn flannel_peer(scene: &mut Scene<'_>) -> Result<()> {
    let host = scene.lab.outside()?;
    let flannel = Node::of(host)?;
    let peers: Vec<_> = scene
        .lab
        .hosts
        .iter()
        .map(|host| as_flannel_sees(scene, host))
        .collect::<Result<_>>()?;
    host.sh("sysctl -q -w net.ipv4.ip_forward=1")?;
    flannel.lay_out(host, &peers)?;
    let pod = flannel.go_plugins().pod(host)?;
    scene.cluster.api.apply(&object(&flannel).to_string())?;
    let outcome = talks(scene, &pod);
    scene.cluster.api.kubectl(&["delete", "node", "flannel"])?;
    outcome?;
    for host in &scene.lab.hosts {
        eventually("a deleted node is no peer", || {
            let routes = host.sh(&format!("ip route show {}", flannel.subnet))?;
            ensure!(routes.is_empty(), "{routes}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Checks that a pod and all of the cluster's reach each other, in packets as large as the cluster's MTU.
fn talks(scene: &Scene<'_>, pod: &Pod<'_>) -> Result<()> {
    for other in &scene.pods {
        for (from, to) in [(other, pod), (pod, other)] {
            let addr = to.v4()?;
            let what = format!("{} reaches {addr}", from.place().name());
            eventually(&what, || traffic::ping(from.place(), addr).map(drop))?;
            let seen = traffic::udp_source(from.place(), to.place(), addr)?;
            ensure!(seen == from.v4()?, "{what} as {seen}");
            traffic::ping_size(from.place(), addr, 1430)?;
        }
    }
    Ok(())
}

/// A node of the cluster by what its Node object tells flannel.
fn as_flannel_sees(scene: &Scene<'_>, host: &Host) -> Result<Node> {
    let IpNet::V4(subnet) = scene.subnet(host, Family::V4)? else {
        unreachable!("an IPv4 subnet was asked for")
    };
    let told = scene.annotations(host)?;
    let text = |name: &str| {
        told[format!("{PREFIX}/{name}")]
            .as_str()
            .with_context(|| format!("no {name} in {told}"))
    };
    let data: Value = serde_json::from_str(text("backend-data")?)?;
    Ok(Node {
        subnet,
        public: text("public-ip")?.parse()?,
        mac: data["VtepMAC"].as_str().context("no MAC")?.to_owned(),
    })
}

/// The Node object that flannel's agent has annotated. The taint keeps the DaemonSets from it.
fn object(flannel: &Node) -> Value {
    let data = json!({ "VNI": 1, "VtepMAC": flannel.mac });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "flannel",
            "annotations": {
                format!("{PREFIX}/backend-data"): data.to_string(),
                format!("{PREFIX}/backend-type"): "vxlan",
                format!("{PREFIX}/kube-subnet-manager"): "true",
                format!("{PREFIX}/public-ip"): flannel.public,
            },
        },
        "spec": {
            "podCIDR": flannel.subnet,
            "podCIDRs": [flannel.subnet],
            "taints": [{ "key": "example.com/flannel", "effect": "NoSchedule" }],
        },
    })
}
