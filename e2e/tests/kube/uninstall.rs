//! Uninstalling from a cluster.

use std::fs;

use anyhow::{Result, ensure};

use crate::scene::{Scene, in_kubelet_time, manifest};

/// The manifest is deleted and the cleanup applied: nothing of ours is left on any node.
pub(crate) fn leaves_nothing(scene: &mut Scene<'_>) -> Result<()> {
    let api = &scene.cluster.api;
    api.kubectl(&["delete", "daemonset", "web", "--ignore-not-found"])?;
    let dns = ["--namespace=kube-system", "deployment", "coredns"];
    api.kubectl(&[&["delete", "--ignore-not-found"], &dns[..]].concat())?;
    in_kubelet_time("no pod is left", || {
        for namespace in ["default", "kube-system"] {
            let pods = api.kubectl(&["get", "pods", "--namespace", namespace, "--output=name"])?;
            ensure!(pods.is_empty(), "{pods}");
        }
        Ok(())
    })?;
    let admin = api.kubeconfig();
    api.kubectl_with(admin, &["delete", "-f", "-"], &manifest()?)?;
    let cleanup = fs::read_to_string(crate::scene::root().join("manifests/cleanup.yaml"))?;
    api.apply(&cleanup)?;
    in_kubelet_time("the cleanup is done", || {
        let words = ["rollout", "status", "--timeout=10s", "daemonset/cleanup"];
        api.kubectl(&[&words[..], &["--namespace=kube-tweed-cleanup"]].concat())
    })?;
    api.kubectl_with(admin, &["delete", "-f", "-"], &cleanup)?;
    for host in &scene.lab.hosts {
        let links = host.sh("ip -o link show")?;
        for link in ["flannel.1", "flannel-v6.1", "flannel0", "cni0"] {
            ensure!(!links.contains(&format!(" {link}:")), "{links}");
        }
        let rules = host.sh("nft list tables")?;
        ensure!(!rules.contains("tweed"), "{}: {rules}", host.name());
        for folder in ["/etc/cni/net.d", "/opt/cni/bin", "/run/flannel"] {
            let files = host.sh(&format!("ls -A {folder}"))?;
            ensure!(files.is_empty(), "{} {folder}: {files}", host.name());
        }
        let routes = host.sh("ip route show table all")?;
        ensure!(!routes.contains("10.244."), "{}: {routes}", host.name());
    }
    Ok(())
}
