//! Usual workloads: many pods at once, and pods with ports of their nodes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::kube::image::BUSYBOX;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

use crate::scene::{Scene, who};

/// Pods of the large Deployment.
const MANY: u64 = 100;
/// How long they may take: kubelets and containerd share the machine's processors.
const ALL_START: Duration = Duration::from_secs(240);

/// A Deployment of 100 pods comes up, and goes.
pub(crate) fn many(scene: &mut Scene<'_>) -> Result<()> {
    let api = &scene.cluster.api;
    let container = json!({ "name": "idle", "image": BUSYBOX, "imagePullPolicy": "Never" });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "many" },
        "spec": {
            "replicas": MANY,
            "selector": { "matchLabels": { "app": "many" } },
            "template": {
                "metadata": { "labels": { "app": "many" } },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "automountServiceAccountToken": false,
                    "containers": [container],
                },
            },
        },
    });
    api.apply(&deployment.to_string())?;
    let ((), taken) = timed("all pods are ready", ALL_START, || {
        let status = &api.get(&["deployment", "many"])?["status"];
        ensure!(status["readyReplicas"] == MANY, "{status}");
        Ok(())
    })?;
    println!("  {MANY} pods were ready after {taken:.1?}");
    api.kubectl(&["delete", "deployment", "many"])?;
    let ((), taken) = timed("all pods are gone", ALL_START, || {
        let left = api.kubectl(&["get", "pods", "--selector=app=many", "--output=name"])?;
        ensure!(left.is_empty(), "{} are left", left.lines().count());
        Ok(())
    })?;
    println!("  and gone after {taken:.1?}");
    Ok(())
}

/// A host port of a node leads to its pod, in both families and from everywhere.
pub(crate) fn host_ports(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[1];
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "ported", "labels": { "app": "ported" } },
        "spec": {
            "nodeName": host.name(),
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "web",
                "image": BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"],
                "ports": [{ "containerPort": 8080, "hostPort": 8088 }],
            }],
        },
    });
    let api = &scene.cluster.api;
    api.apply(&pod.to_string())?;
    scene.cluster.pods_ready("default", "app=ported", 1)?;
    let places = [
        scene.lab.switch.place(),
        scene.lab.hosts[0].place(),
        host.place(),
        scene.pods[0].place(),
        scene.pods[1].place(),
    ];
    for place in places {
        for family in Family::BOTH {
            let addr = *host.addrs.get(family).context("both families")?;
            let server = SocketAddr::new(addr, 8088);
            let what = format!("{} reaches {server}", place.name());
            let (_, name) = eventually(&what, || who(place, server))?;
            ensure!(name == "ported", "{what}: {name}");
        }
    }
    api.kubectl(&["delete", "pod", "ported"])?;
    let server = SocketAddr::new(host.v4(), 8088);
    // Without grace the object goes first and the pod a moment later.
    eventually("the port leads nowhere", || {
        let answer = who(scene.lab.hosts[0].place(), server);
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
}
