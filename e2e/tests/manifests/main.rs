//! The manifests of a Kubernetes user: rendered by the real kubectl and the real Helm, accepted by a real API server, and
//! the admission policy asked by tokens of real pods.

mod policy;
mod render;
mod security;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tweed_lab::kube::binaries::KubeBinaries;

/// The folder of the manifests.
fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

fn one_file() -> Result<String> {
    let file = manifests().join("kube-tweed.yaml");
    std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// What kubectl makes of a kustomization.
fn kustomize(folder: &str) -> Result<String> {
    let mut kubectl = Command::new(KubeBinaries::locate()?.kube);
    kubectl
        .args(["kubectl", "kustomize"])
        .arg(manifests().join("kustomize").join(folder));
    output(&mut kubectl)
}

/// What Helm makes of the chart with these values.
fn chart(values: &[&str]) -> Result<String> {
    // A Helm that was built from its module says nothing of the Kubernetes it was built for.
    let fixed = [
        "template",
        "tweed",
        "--namespace=kube-tweed",
        "--kube-version=1.34.0",
    ];
    let mut helm = helm()?;
    helm.args(fixed).arg(manifests().join("chart"));
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    output(&mut helm)
}

fn helm() -> Result<Command> {
    let exe = std::env::current_exe()?;
    let found = exe
        .ancestors()
        .map(|folder| folder.join("kube/helm"))
        .find(|helm| helm.is_file());
    found
        .map(Command::new)
        .context("Helm is not built: run .ci/helm, or let make do it")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
