//! The backend `udp`: agents that carry the pods' packets themselves, unprivileged but for NET_ADMIN and `/dev/net/tun`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tweed_e2e::topology::Host;
use tweed_e2e::traffic::{self, Loss};
use tweed_e2e::wait::eventually;
use tweed_overlay::model::Family;

use crate::disruption::{agent_pid, renewed, under_traffic};
use crate::reach;
use crate::scene::{self, NAMESPACE, Scene, patiently};

const DEVICE: &str = "flannel0";
/// NET_ADMIN and NET_RAW, as `/proc/<pid>/status` shows capabilities.
const CAPABILITIES: &str = "0000000000003000";
/// A restarted agent carries again when its container runs and it has read its saved lease.
const CUT_OFF: Duration = Duration::from_secs(15);

/// The configuration says `udp`, but nobody has given the agents the device: they aren't ready and say what is missing.
pub(crate) fn without_device(scene: &mut Scene<'_>) -> Result<()> {
    let all = scene::kustomized("overlays/udp")?;
    let mut objects = all.split("\n---\n");
    let config = objects
        .find(|object| object.contains("\nkind: ConfigMap\n"))
        .context("there is no ConfigMap")?;
    scene.cluster.api.apply(config)?;
    for host in &scene.lab.hosts {
        patiently("status says what is missing", || {
            let status = scene.status(host)?;
            let reasons = status["not_ready"].to_string();
            ensure!(reasons.contains("there is no /dev/net/tun"), "{status}");
            Ok(())
        })?;
        shown_unready(scene, host)?;
    }
    Ok(())
}

/// The overlay is applied. Everything is reached as with VXLAN.
pub(crate) fn applied(scene: &mut Scene<'_>) -> Result<()> {
    let api = &scene.cluster.api;
    renewed(scene, || api.apply(&scene::kustomized("overlays/udp")?))?;
    for host in &scene.lab.hosts {
        eventually("VXLAN's devices are gone", || {
            let links = host.sh("ip -o link show")?;
            ensure!(links.contains(&format!(" {DEVICE}:")), "{links}");
            ensure!(
                !links.contains(" flannel.1:") && !links.contains(" flannel-v6.1:"),
                "{links}"
            );
            Ok(())
        })?;
        let local = host.sh("sysctl -n net.ipv4.conf.flannel0.accept_local")?;
        ensure!(local.trim() == "1", "{}: {local}", host.name());
        let status = fs::read_to_string(host.path(format!("/proc/{}/status", agent_pid(host)?)))?;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            ensure!(
                status.contains(&format!("{set}:\t{CAPABILITIES}\n")),
                "{status}"
            );
        }
    }
    reach::pods(scene)?;
    reach::nodes(scene)?;
    reach::services(scene)?;
    reach::names(scene)
}

/// A rolling restart of the DaemonSet: packets of a node wait for its agent, all others pass.
pub(crate) fn rollout(scene: &mut Scene<'_>) -> Result<()> {
    let losses = under_traffic(scene, || {
        renewed(scene, || {
            let words = [
                "rollout",
                "restart",
                "--namespace",
                NAMESPACE,
                "daemonset/kube-tweed",
            ];
            scene.cluster.api.kubectl(&words).map(drop)
        })
    })?;
    let gap = told("a rolling restart", &losses);
    ensure!(gap < CUT_OFF, "{losses:?}");
    scene.talks()
}

/// The device of a node is deleted.
pub(crate) fn device_deleted(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[0];
    let losses = under_traffic(scene, || {
        host.sh(&format!("ip link del {DEVICE}"))?;
        eventually("a full packet passes", || full_packet(scene))
    })?;
    let gap = told("a deleted device", &losses);
    ensure!(gap < Duration::from_secs(1), "{losses:?}");
    Ok(())
}

/// A runtime that keeps the device from containers, as runc 1.2.0 did: the agent isn't ready and says what to do; the
/// other nodes go on, and so does this one when it may.
pub(crate) fn refused(scene: &mut Scene<'_>) -> Result<()> {
    let host = &scene.lab.hosts[1];
    rule(host, "deny")?;
    host.sh(&format!("ip link del {DEVICE}"))?;
    eventually("status says what to do", || {
        let status = scene.status(host)?;
        let reasons = status["not_ready"].to_string();
        ensure!(
            reasons.contains("device cgroup") && reasons.contains("privileged"),
            "{status}"
        );
        Ok(())
    })?;
    let (first, last) = (&scene.pods[0], &scene.pods[2]);
    traffic::ping(first.place(), last.v4()?)?;
    rule(host, "allow")?;
    eventually("the agent is ready again", || {
        let status = scene.status(host)?;
        ensure!(status["ready"] == true, "{status}");
        Ok(())
    })?;
    scene.talks()
}

/// Waits until Kubernetes shows that the agent of a node isn't ready.
fn shown_unready(scene: &Scene<'_>, host: &Host) -> Result<()> {
    let node = format!("--field-selector=spec.nodeName={}", host.name());
    let words = ["wait", "pod", "--namespace", NAMESPACE, "--timeout=10s"];
    let wanted = [&node, "--for=condition=Ready=false"];
    let api = &scene.cluster.api;
    patiently("its pod shows it", || {
        api.kubectl(&[&words[..], &wanted].concat()).map(drop)
    })
}

/// Writes a rule of the agent's control group about `/dev/net/tun`. It counts when a file is opened.
fn rule(host: &Host, verb: &str) -> Result<()> {
    let pid = agent_pid(host)?;
    // Read from here, the path is one of here, whatever namespace the node has.
    let groups = fs::read_to_string(host.path(format!("/proc/{pid}/cgroup")))?;
    let group = groups
        .lines()
        .find_map(|line| line.split_once(":devices:"))
        .with_context(|| groups.clone())?;
    let file = format!("/sys/fs/cgroup/devices{}/devices.{verb}", group.1);
    fs::write(&file, "c 10:200 rwm").with_context(|| format!("write {file}"))
}

/// A packet as large as the pods' MTU passes from the first node to the last in both families.
fn full_packet(scene: &Scene<'_>) -> Result<()> {
    let [from, .., to] = &scene.pods[..] else {
        bail!("several pods")
    };
    for family in Family::BOTH {
        traffic::ping_size(from.place(), to.addr(family)?, 1430)?;
    }
    Ok(())
}

/// Prints what something has cost, and gives the longest time without answers.
fn told(what: &str, losses: &[Loss]) -> Duration {
    let lost: u32 = losses.iter().map(|loss| loss.lost).sum();
    let sent: u32 = losses.iter().map(|loss| loss.sent).sum();
    let gap = losses.iter().map(|loss| loss.gap).max().unwrap_or_default();
    println!("  {what}: {sent} probes, {lost} lost, {gap:.1?} without answers");
    gap
}
