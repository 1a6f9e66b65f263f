//! Events that must not cost a packet: agents that are replaced or killed, and an API server that is away.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tweed_lab::fault::Peer;
use tweed_lab::traffic::{Loss, Stream};
use tweed_lab::wait::{TIMEOUT, timed};
use tweed_model::Family;

use crate::scene::{AGENTS, NAMESPACE, Scene, in_kubelet_time};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);

/// A rolling restart of the DaemonSet.
pub(crate) fn rollout(scene: &mut Scene<'_>) -> Result<()> {
    replaced(scene, &["rollout", "restart"], &[])
}

/// An upgrade to an image of another tag.
pub(crate) fn upgrade(scene: &mut Scene<'_>) -> Result<()> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
    let old = image(&scene.agents()?[0]);
    let old = old.as_str().context("no image")?;
    let (name, _) = old.rsplit_once(':').context("no tag")?;
    let new = format!("{name}:next");
    for node in &scene.cluster.nodes {
        node.ctr(&["images", "tag", old, &new])?;
    }
    replaced(scene, &["set", "image"], &[&format!("tweedd={new}")])?;
    for agent in scene.agents()? {
        ensure!(image(&agent) == new.as_str(), "{}", image(&agent));
    }
    Ok(())
}

/// Does something to the DaemonSet that replaces all agents, one after the other.
fn replaced(scene: &Scene<'_>, verb: &[&str], what: &[&str]) -> Result<()> {
    let losses = under_traffic(scene, || {
        renewed(scene, || {
            let all = ["--namespace", NAMESPACE, "daemonset/kube-tweed"];
            let words = [verb, &all, what].concat();
            scene.cluster.api.kubectl(&words).map(drop)
        })
    })?;
    lossless(&losses)
}

/// Does something that has all agents replaced, and waits until they are.
pub(crate) fn renewed(scene: &Scene<'_>, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let words = [
        "get",
        "pods",
        "--namespace",
        NAMESPACE,
        "--selector",
        AGENTS,
    ];
    let before = scene.cluster.api.kubectl(&words)?;
    let start = Instant::now();
    act()?;
    in_kubelet_time("the rollout ends", || {
        let words = ["rollout", "status", "--timeout=10s"];
        let all = ["--namespace", NAMESPACE, "daemonset/kube-tweed"];
        scene.cluster.api.kubectl(&[words, all].concat())
    })?;
    println!("  all agents were replaced after {:.1?}", start.elapsed());
    let after = names(scene)?;
    ensure!(
        after.iter().all(|name| !before.contains(name)),
        "not all agents were replaced: {before:?}, {after:?}"
    );
    Ok(())
}

/// An agent is killed: kubelet starts it again.
pub(crate) fn killed(scene: &mut Scene<'_>) -> Result<()> {
    let losses = under_traffic(scene, || {
        kill_agent(scene, 1)?;
        in_kubelet_time("the agent was started again", || {
            let restarts = restarts(scene, 1)?;
            ensure!(restarts > 0, "it was not");
            Ok(())
        })?;
        scene.agents().map(drop)
    })?;
    lossless(&losses)
}

/// The tunnel devices of a node are deleted: each is back with all peers within a second.
pub(crate) fn device_deleted(scene: &mut Scene<'_>) -> Result<()> {
    let [host, others @ ..] = &scene.lab.hosts[..] else {
        bail!("no host")
    };
    for (family, dev) in [(Family::V4, "flannel.1"), (Family::V6, "flannel-v6.1")] {
        let peers: Vec<_> = others
            .iter()
            .map(|other| Peer::of(other, scene.subnet(other, family)?))
            .collect::<Result<_>>()?;
        let mut taken = Duration::ZERO;
        let losses = under_traffic(scene, || {
            host.sh(&format!("ip link del {dev}"))?;
            ((), taken) = timed("device and peers are back", TIMEOUT, || {
                peers.iter().try_for_each(|peer| peer.is_programmed(host))
            })?;
            Ok(())
        })?;
        let lost: u32 = losses.iter().map(|loss| loss.lost).sum();
        let sent: u32 = losses.iter().map(|loss| loss.sent).sum();
        let gap = losses.iter().map(|loss| loss.gap).max().unwrap_or_default();
        println!(
            "  {dev} was back with its peers after {taken:.0?}: {sent} probes, {lost} lost, {gap:.0?} without answers"
        );
        ensure!(taken.max(gap) < Duration::from_secs(1), "{losses:?}");
    }
    Ok(())
}

/// The API server is away for a minute, its history compacted, and an agent starts meanwhile.
pub(crate) fn away(scene: &mut Scene<'_>) -> Result<()> {
    scene.agents()?;
    let host = &scene.lab.hosts[2];
    let mut streams = streams(scene)?;
    scene.cluster.api.stop()?;
    let before = agent_pid(host)?;
    kill_agent(scene, 2)?;
    thread::sleep(AWAY);
    let after = agent_pid(host).context("the agent runs without the API server")?;
    ensure!(before != after, "it is the same process");
    scene.cluster.api.etcd().compact()?;
    scene.cluster.api.resume()?;
    let back = Instant::now();
    let losses: Vec<_> = streams.drain(..).map(Stream::stop).collect::<Result<_>>()?;
    lossless(&losses)?;
    scene.cluster.nodes_ready()?;
    let nodes = back.elapsed();
    scene.agents()?;
    let agents = back.elapsed();
    println!("  nodes were ready {nodes:.0?} and agents {agents:.0?} after the API server was");
    scene.talks()
}

/// Runs something while pods of all nodes talk.
pub(crate) fn under_traffic(
    scene: &Scene<'_>,
    act: impl FnOnce() -> Result<()>,
) -> Result<Vec<Loss>> {
    let streams = streams(scene)?;
    act()?;
    streams.into_iter().map(Stream::stop).collect()
}

/// From each node to the next, in both families.
fn streams(scene: &Scene<'_>) -> Result<Vec<Stream>> {
    let pods = &scene.pods;
    let mut streams = Vec::new();
    for (index, from) in pods.iter().enumerate() {
        for family in Family::BOTH {
            let to = &pods[(index + 1) % pods.len()];
            streams.push(Stream::start(from, to, family)?);
        }
    }
    Ok(streams)
}

fn lossless(losses: &[Loss]) -> Result<()> {
    let sent: u32 = losses.iter().map(|loss| loss.sent).sum();
    let lost: u32 = losses.iter().map(|loss| loss.lost).sum();
    println!("  {sent} probes, {lost} lost");
    ensure!(lost == 0, "{losses:?}");
    Ok(())
}

fn names(scene: &Scene<'_>) -> Result<Vec<String>> {
    let agents = scene.agents()?;
    Ok(agents
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect())
}

fn restarts(scene: &Scene<'_>, index: usize) -> Result<u64> {
    scene.agents()?[index]["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .context("no count")
}

fn kill_agent(scene: &Scene<'_>, index: usize) -> Result<()> {
    let host = &scene.lab.hosts[index];
    let pid = agent_pid(host)?;
    host.sh(&format!("kill -KILL {pid}")).map(drop)
}

/// The agent's process as its node sees it.
pub(crate) fn agent_pid(host: &tweed_lab::topology::Host) -> Result<String> {
    let pids = host.sh("pgrep -x tweedd")?;
    let mut pids = pids.split_whitespace();
    let pid = pids.next().context("no agent runs")?;
    ensure!(pids.next().is_none(), "several agents run");
    Ok(pid.to_owned())
}
