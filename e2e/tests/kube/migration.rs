//! kube-flannel is replaced node by node, as the guide says. What it leaves on a node and in the cluster is made by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tweed_lab::cni::{GO_PLUGINS, Pod};
use tweed_lab::kube::KubeCluster;
use tweed_lab::kube::image::BUSYBOX;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic::{self, Loss, Stream};
use tweed_lab::{flannel, observe};
use tweed_model::Family;

use crate::agents::PREFIX;
use crate::harness::Report;
use crate::scene::{self, AGENTS, NAMESPACE, in_kubelet_time};

const NAME: &str = "kube_flannel_is_replaced_node_by_node_without_a_lost_packet";

/// flannel's plugin: hands what it makes of `subnet.env` to the bridge plugin, and keeps it for the end.
const PLUGIN: &str = r#"#!/bin/sh
cat >/dev/null
. /run/flannel/subnet.env
kept=/var/lib/cni/flannel/$CNI_CONTAINERID
mkdir -p /var/lib/cni/flannel
config='{"cniVersion":"0.3.1","name":"cbr0","type":"bridge","mtu":'$FLANNEL_MTU',"hairpinMode":true,"ipMasq":false,
  "isGateway":true,"isDefaultGateway":true,"ipam":{"type":"host-local",
  "ranges":[[{"subnet":"'${FLANNEL_SUBNET%.1/24}'.0/24"}]],"routes":[{"dst":"'$FLANNEL_NETWORK'"}]}}'
case $CNI_COMMAND in
ADD) printf %s "$config" >"$kept" ;;
DEL) rm -f "$kept" ;;
esac
printf %s "$config" | exec /opt/cni/bin/bridge
"#;

pub(crate) fn play(report: &mut Report) {
    report.run(NAME, || Topology::hosts(2).play(cluster));
}

fn cluster(lab: &Lab) -> Result<()> {
    let cluster = KubeCluster::start(lab, &[Family::V4], &[scene::archive()?])?;
    let outcome = scenario(lab, &cluster);
    if outcome.is_err() {
        eprintln!("{}", cluster.describe());
    }
    outcome
}

fn scenario(lab: &Lab, cluster: &KubeCluster<'_>) -> Result<()> {
    install_flannel(lab, cluster)?;
    cluster.nodes_ready()?;
    let pods = cluster.web("web")?;
    cluster.pods_ready("kube-flannel", "app=flannel", 2)?;
    traffic::all_reach_each_other(&pods, Family::V4)?;
    let before = lab.hosts.iter().map(devices).collect::<Result<Vec<_>>>()?;

    let streams =
        [(0, 1), (1, 0)].map(|(from, to)| Stream::start(&pods[from], &pods[to], Family::V4));
    prepare(cluster)?;
    for host in &lab.hosts {
        move_node(lab, cluster, host)?;
    }
    cluster
        .api
        .kubectl(&["delete", "namespace", "kube-flannel"])?;
    let losses: Vec<Loss> = streams
        .into_iter()
        .map(|stream| stream?.stop())
        .collect::<Result<_>>()?;
    let sent: u32 = losses.iter().map(|loss| loss.sent).sum();
    let lost: u32 = losses.iter().map(|loss| loss.lost).sum();
    println!("  kube-flannel replaced on two nodes: {sent} probes, {lost} lost");
    ensure!(lost == 0, "{losses:?}");

    let after = lab.hosts.iter().map(devices).collect::<Result<Vec<_>>>()?;
    ensure!(before == after, "{before:?} became {after:?}");
    let same = cluster.web("web")?;
    let ids = |pods: &[Pod<'_>]| pods.iter().map(|pod| pod.id.clone()).collect::<Vec<_>>();
    ensure!(ids(&pods) == ids(&same), "pods were replaced");
    // Pods that flannel attached go, others come.
    cluster.api.kubectl(&["delete", "pod", &pods[0].id])?;
    let anew = cluster.web("web")?;
    ensure!(ids(&anew) != ids(&pods), "no pod was replaced");
    traffic::all_reach_each_other(&anew, Family::V4)
}

/// Device and bridge: index and MAC.
fn devices(host: &Host) -> Result<Vec<(u64, String)>> {
    ["flannel.1", "cni0"]
        .iter()
        .map(|dev| Ok((observe::ifindex(host, dev)?, observe::mac(host, dev)?)))
        .collect()
}

/// The guide's first two steps: the configuration, and each agent kept to its nodes.
fn prepare(cluster: &KubeCluster<'_>) -> Result<()> {
    let api = &cluster.api;
    let words = ["configmap", "--namespace=kube-flannel", "kube-flannel-cfg"];
    let mut config = api.get(&words)?;
    config["metadata"] = json!({ "name": "kube-flannel-cfg", "namespace": NAMESPACE });
    let away = json!([{
        "op": "add",
        "path": "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution\
                 /nodeSelectorTerms/0/matchExpressions/-",
        "value": { "key": "tweed", "operator": "DoesNotExist" },
    }]);
    let patch = format!("--patch={away}");
    let flannel = ["--namespace=kube-flannel", "daemonset", "kube-flannel-ds"];
    api.kubectl(&[&["patch", "--type=json", &patch], &flannel[..]].concat())?;

    let text = fs::read_to_string(scene::root().join("manifests/kube-tweed.yaml"))?;
    let mut objects: Vec<_> = text.split("\n---\n").collect();
    let all = objects.len();
    objects.retain(|object| !object.contains("\nkind: ConfigMap\n"));
    ensure!(objects.len() + 1 == all, "one ConfigMap was expected");
    let everywhere = "        kubernetes.io/os: linux\n";
    let text = objects.join("\n---\n");
    ensure!(
        text.matches(everywhere).count() == 1,
        "one node selector was expected"
    );
    let some = format!("{everywhere}        tweed: \"yes\"\n");
    api.apply(&text.replace(everywhere, &some))?;
    api.apply(&config.to_string())
}

/// The guide's third step: flannel's pod goes, Tweed's comes, takes over, and says that all is well.
fn move_node(lab: &Lab, cluster: &KubeCluster<'_>, host: &Host) -> Result<()> {
    let api = &cluster.api;
    let annotations = || -> Result<Value> {
        let node = api.get(&["node", host.name()])?;
        let all = node["metadata"]["annotations"].as_object().cloned();
        let all = all.context("no annotations")?.into_iter();
        Ok(all.filter(|(key, _)| key.starts_with(PREFIX)).collect())
    };
    let before = annotations()?;
    api.kubectl(&["label", "node", host.name(), "tweed=yes"])?;
    let moved = usize::from(host.index) + 1;
    cluster.pods_ready(NAMESPACE, AGENTS, moved)?;
    in_kubelet_time("flannel's pod is gone", || {
        let words = ["get", "pods", "--namespace=kube-flannel", "--output=name"];
        let left = api.kubectl(&words)?.lines().count();
        ensure!(left == lab.hosts.len() - moved, "{left} are left");
        Ok(())
    })?;
    let tweedd = lab.binaries.tweedd.display().to_string();
    host.place().cmd([tweedd.as_str(), "status"])?;
    let after = annotations()?;
    ensure!(before == after, "{before} became {after}");
    Ok(())
}

/// What kube-flannel leaves: plugins, devices and `subnet.env` on the nodes, annotations, configuration and DaemonSet.
fn install_flannel(lab: &Lab, cluster: &KubeCluster<'_>) -> Result<()> {
    let nodes: Vec<_> = lab
        .hosts
        .iter()
        .map(|host| {
            let node = in_kubelet_time("the node has a pod subnet", || {
                let node = cluster.api.get(&["node", host.name()])?;
                Ok(node["spec"]["podCIDR"].as_str().context("none")?.parse()?)
            })?;
            let IpNet::V4(subnet) = node else {
                unreachable!("the cluster has IPv4 alone")
            };
            Ok(flannel::Node {
                subnet,
                ..flannel::Node::of(host)?
            })
        })
        .collect::<Result<_>>()?;
    cluster.api.apply(&objects().to_string())?;
    for (host, node) in lab.hosts.iter().zip(&nodes) {
        let peers: Vec<_> = nodes
            .iter()
            .filter(|peer| peer.mac != node.mac)
            .cloned()
            .collect();
        node.lay_out(host, &peers)?;
        let data = json!({ "VNI": 1, "VtepMAC": node.mac });
        cluster.api.kubectl(&[
            "annotate",
            "node",
            host.name(),
            &format!("{PREFIX}/backend-data={data}"),
            &format!("{PREFIX}/backend-type=vxlan"),
            &format!("{PREFIX}/kube-subnet-manager=true"),
            &format!("{PREFIX}/public-ip={}", node.public),
        ])?;
        for plugin in ["bridge", "host-local", "loopback", "portmap"] {
            host.sh(&format!("cp {GO_PLUGINS}/{plugin} /opt/cni/bin/"))?;
        }
        let plugin = host.path("/opt/cni/bin/flannel");
        fs::write(&plugin, PLUGIN)?;
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755))?;
        fs::write(
            host.path("/etc/cni/net.d/10-flannel.conflist"),
            list().to_string(),
        )?;
    }
    Ok(())
}

/// flannel's list.
fn list() -> Value {
    json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// The objects of its manifest that matter here; its program does nothing.
fn objects() -> Value {
    let namespace = "kube-flannel";
    let linux = json!({ "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] });
    let required = json!({ "nodeSelectorTerms": [{ "matchExpressions": [linux] }] });
    let affinity =
        json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
    let items = json!([
        {
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "pod-security.kubernetes.io/enforce": "privileged" } },
        },
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "kube-flannel-cfg", "namespace": namespace },
            "data": { "net-conf.json": vxlan().to_string(), "cni-conf.json": list().to_string() },
        },
        {
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "kube-flannel-ds", "namespace": namespace },
            "spec": {
                "selector": { "matchLabels": { "app": "flannel" } },
                "template": {
                    "metadata": { "labels": { "app": "flannel" } },
                    "spec": {
                        "affinity": affinity,
                        "hostNetwork": true,
                        "terminationGracePeriodSeconds": 0,
                        "tolerations": [{ "operator": "Exists" }],
                        "containers": [{ "name": "flannel", "image": BUSYBOX, "imagePullPolicy": "Never" }],
                    },
                },
            },
        },
    ]);
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}
