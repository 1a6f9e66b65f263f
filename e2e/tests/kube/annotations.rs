//! The annotations that carry leases: repaired when somebody else touches them, refused to the wrong agent.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tweed_lab::kube::ApiServer;
use tweed_lab::wait::eventually;

use crate::scene::{NAMESPACE, Scene};

const PREFIX: &str = "flannel.alpha.coreos.com";

/// Somebody edits one annotation and removes another: both come back, and pods talk.
pub(crate) fn repaired(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[1];
    let before = scene.annotations(host)?;
    let data = &before[format!("{PREFIX}/backend-data")];
    ensure!(data.is_string(), "{before}");
    let wrong = format!(r#"{PREFIX}/backend-data={{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#);
    let removed = format!("{PREFIX}/public-ip-");
    let words = ["annotate", "--overwrite", "node", host.name()];
    let api = &scene.cluster.api;
    api.kubectl(&[&words[..], &[&wrong, &removed]].concat())?;
    eventually("the annotations are as before", || {
        let after = scene.annotations(host)?;
        ensure!(after == before, "{after}");
        Ok(())
    })?;
    scene.talks()
}

/// An agent's credentials change the annotations of its own node, and of no other; and nothing else there.
pub(crate) fn guarded(scene: &mut Scene<'_>) -> Result<()> {
    let agents = scene.agents()?;
    let agent = agents[0]["metadata"]["name"].as_str().context("no name")?;
    let token = scene.cluster.api.kubectl(&[
        "create",
        "token",
        "--namespace",
        NAMESPACE,
        "tweed",
        "--bound-object-kind=Pod",
        "--bound-object-name",
        agent,
    ])?;
    let own = json!({ "annotations": { "flannel.alpha.coreos.com/backend-type": "vxlan" } });
    as_agent(scene, &token, "host1", &own).context("the own node")?;
    let foreign = json!({ "annotations": { "flannel.alpha.coreos.com/public-ip": "198.18.0.99" } });
    refused(scene, &token, "host2", foreign)?;
    let other = json!({ "annotations": { "example.com/a": "b" } });
    refused(scene, &token, "host1", other)?;
    refused(scene, &token, "host1", json!({ "labels": { "a": "b" } }))
}

fn refused(scene: &Scene<'_>, token: &str, node: &str, metadata: Value) -> Result<()> {
    match as_agent(scene, token, node, &metadata) {
        Ok(_) => bail!("{metadata} on {node} was not refused"),
        Err(error) => {
            let message = format!("{error:#}");
            ensure!(message.contains("kube-tweed-own-node"), "{message}");
            Ok(())
        }
    }
}

/// Applies metadata to a node as the bearer of a token, where agents write it: in the node's status.
fn as_agent(scene: &Scene<'_>, token: &str, node: &str, metadata: &Value) -> Result<String> {
    let api = &scene.cluster.api;
    let mut object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata });
    object["metadata"]["name"] = node.into();
    let mut command = Command::new(&api.binaries().kube);
    command
        .args(["kubectl", "--kubeconfig=/dev/null", "apply", "--filename=-"])
        .args([
            "--server-side",
            "--force-conflicts",
            "--field-manager=someone",
        ])
        .args(["--subresource=status", "--validate=false"])
        .arg(format!("--server={}", ApiServer::url()))
        .arg(format!(
            "--certificate-authority={}",
            api.pki().path("ca.crt").display()
        ))
        .arg(format!("--token={}", token.trim()));
    let switch = scene.lab.switch.place();
    switch.cmd_with(&mut command, &object.to_string())
}
