//! The backend `udp`: agents that carry the pods' packets themselves, unprivileged but for NET_ADMIN and `/dev/net/tun`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tweed_lab::topology::Host;
use tweed_lab::traffic::{self, Loss};
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use crate::disruption::{agent_pid, renewed, under_traffic};
use crate::reach;
use crate::scene::{self, NAMESPACE, Scene, in_kubelet_time};

const DEVICE: &str = "flannel0";
/// NET_ADMIN alone, as `/proc/<pid>/status` shows capabilities.
const CAPABILITIES: &str = "0000000000001000";
/// A restarted agent carries again when its container runs and it has read its saved lease.
const CUT_OFF: Duration = Duration::from_secs(15);

/// The guide's steps from VXLAN to UDP: the device with the first one, then edits of the ConfigMap, which kubelets bring
/// to each node at another time.
pub(crate) fn moved(scene: &mut Scene<'_>) -> Result<()> {
    let api = &scene.cluster.api;
    let overlay = scene::kustomized("overlays/udp")?;
    let step = |backend: &str| overlay.replace(r#""Type": "udp""#, backend);
    let losses = under_traffic(scene, || {
        let first = step(r#""Type": "vxlan", "Accept": [{"Type": "udp"}]"#);
        renewed(scene, || api.apply(&first))?;
        run(scene, "vxlan", &["udp"])?;
        api.apply(&step(r#""Type": "udp", "Accept": [{"Type": "vxlan"}]"#))?;
        run(scene, "udp", &["vxlan"])?;
        api.apply(&overlay)?;
        run(scene, "udp", &[])
    })?;
    told("the move", &losses);
    ensure!(losses.iter().all(|loss| loss.lost == 0), "{losses:?}");
    for host in &scene.lab.hosts {
        let links = host.sh("ip -o link show")?;
        ensure!(!links.contains(" flannel.1:"), "{links}");
        ensure!(!links.contains(" flannel-v6.1:"), "{links}");
    }
    Ok(())
}

/// Waits until all nodes run a backend and accept these, and are ready.
fn run(scene: &Scene<'_>, backend: &str, accepts: &[&str]) -> Result<()> {
    for host in &scene.lab.hosts {
        in_kubelet_time("the node has taken the step", || {
            let status = scene.status(host)?;
            let there = status["backend"] == backend && status["accepts"] == json!(accepts);
            ensure!(there && status["ready"] == true, "{status}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Agents have the device and no more rights than with VXLAN, and everything is reached as with it.
pub(crate) fn reached(scene: &mut Scene<'_>) -> Result<()> {
    for host in &scene.lab.hosts {
        let local = host.sh("sysctl -n net.ipv4.conf.flannel0.accept_local")?;
        ensure!(local.trim() == "1", "{}: {local}", host.name());
        let status = fs::read_to_string(host.path(format!("/proc/{}/status", agent_pid(host)?)))?;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = format!("{set}:\t{CAPABILITIES}\n");
            ensure!(status.contains(&line), "{status}");
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

/// A manifest that doesn't give the device: the rolling update stops at the first node, whose agent says what is
/// missing; the others go on.
pub(crate) fn without_device(scene: &mut Scene<'_>) -> Result<()> {
    let api = &scene.cluster.api;
    let udp = scene::manifest()?.replace(r#""Type": "vxlan""#, r#""Type": "udp""#);
    api.apply(&udp)?;
    let lacks = |host: &Host| -> Result<bool> {
        let reasons = scene.status(host)?["not_ready"].to_string();
        Ok(reasons.contains("there is no /dev/net/tun"))
    };
    let hosts = &scene.lab.hosts;
    let first = in_kubelet_time("an agent says what is missing", || {
        let first = hosts.iter().position(|host| lacks(host).unwrap_or(false));
        first.context("none does")
    })?;
    let [one, other] = [1, 2].map(|step| &scene.pods[(first + step) % 3]);
    stays("the others", Duration::from_secs(3), || {
        for pod in [one, other] {
            let status = scene.status(pod.host)?;
            ensure!(status["ready"] == true, "{status}");
        }
        traffic::ping(one.place(), other.v4()?).map(drop)
    })?;
    api.apply(&scene::kustomized("overlays/udp")?)?;
    in_kubelet_time("the node works again", || {
        ensure!(!lacks(&hosts[first])?, "it lacks the device");
        Ok(())
    })?;
    scene.agents()?;
    scene.talks()
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
