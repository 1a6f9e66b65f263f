//! Pod Security on a real API server: what needs no exception gets none.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::kube::ApiServer;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

use super::manifests;
use super::render::index;

const NAMESPACE: &str = "kube-tweed-connectivity";

#[test]
fn the_connectivity_test_is_restricted_but_for_the_responders_in_the_nodes_network() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let api = ApiServer::start(lab)?;
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            },
        });
        api.apply(&namespace.to_string())?;
        for account in ["default", "test"] {
            let words = [
                "create",
                "serviceaccount",
                account,
                "--namespace",
                NAMESPACE,
            ];
            eventually("the account is made", || api.kubectl(&words).map(drop))?;
        }
        let file = std::fs::read_to_string(manifests().join("connectivity.yaml"))?;
        let words = ["apply", "--dry-run=server", "--output=json", "-f", "-"];
        let objects = index(&api.kubectl_with(api.kubeconfig(), &words, &file)?)?;
        // The API server checks pods, and of what makes them only warns.
        let made = |name: &str| -> Result<String> {
            let template = objects.get(name).context("no such object")?["spec"]["template"].clone();
            let mut pod: Value = template;
            pod["apiVersion"] = "v1".into();
            pod["kind"] = "Pod".into();
            pod["metadata"]["name"] = "pod".into();
            pod["metadata"]["namespace"] = NAMESPACE.into();
            let words = ["create", "--dry-run=server", "-f", "-"];
            api.kubectl_with(api.kubeconfig(), &words, &pod.to_string())
        };
        for name in ["DaemonSet/pods", "Job/connectivity"] {
            eventually(&format!("{name} is restricted"), || made(name).map(drop))?;
        }
        let refusal = made("DaemonSet/nodes")
            .err()
            .context("nodes is restricted too")?;
        let refusal = format!("{refusal:#}");
        ensure!(refusal.contains("hostNetwork=true"), "{refusal}");
        Ok(())
    })
}
