//! `fastDel` beside an agent: it removes what DEL has set aside, also what was set aside while it was away.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{OUR_PLUGINS, Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::ping;
use tweed_lab::wait::timed;

use crate::timed::pod_healing::shell;

/// The promise for links that were set aside.
const SOON: Duration = Duration::from_secs(2);

fn runtime() -> Runtime {
    let mut runtime = Runtime::tweed();
    runtime.plugins[0]["delegate"]["fastDel"] = true.into();
    runtime
}

fn waiting(host: &Host) -> Result<usize> {
    let links = shell(host, "ip -o link | grep -c ': gone' || true")?;
    Ok(links.trim().parse()?)
}

fn none_waits(host: &Host) -> Result<()> {
    timed("no link waits", SOON, || {
        let waiting = waiting(host)?;
        ensure!(waiting == 0, "{waiting} wait");
        Ok(())
    })
    .map(drop)
}

/// Removes pods with the agent stopped amid its work: to the plugin it is there.
fn del_while_stopped(cluster: &Cluster<'_>, pods: &[Pod<'_>]) -> Result<()> {
    let (agent, host) = (&cluster.agents[0], cluster.agents[0].host());
    agent.signal(Signal::SIGSTOP)?;
    for pod in pods {
        runtime().del(pod, "eth0")?;
    }
    let left = waiting(host)?;
    ensure!(left == pods.len(), "{left} of {} wait", pods.len());
    Ok(())
}

#[test]
fn the_agent_removes_what_fast_dels_have_set_aside_and_a_new_pod_has_the_name_meanwhile()
-> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let pods: Vec<Pod<'_>> = (0..20)
            .map(|_| runtime().pod(host))
            .collect::<Result<_>>()?;
        for pod in &pods {
            runtime().del(pod, "eth0")?;
        }
        none_waits(host)?;
        let locks = shell(host, "ls -A /run/tweed/cni | grep -c lock || true")?;
        ensure!(
            locks.trim() == "0",
            "the plugin has started a process beside the agent"
        );
        let status = cluster.agents[0].status()?;
        ensure!(status["kernel"]["repairs"] == 0, "{status}");

        let pod = runtime().pod(host)?;
        del_while_stopped(&cluster, std::slice::from_ref(&pod))?;
        let result = runtime().add(&pod, "eth0")?;
        cluster.agents[0].signal(Signal::SIGCONT)?;
        none_waits(host)?;
        runtime().check(&pod, "eth0")?;
        let addr = result["ips"][0]["address"].as_str().unwrap_or_default();
        let addr = addr.split('/').next().unwrap_or_default().parse()?;
        ping(host.place(), addr).map(drop)
    })
}

#[test]
fn what_was_set_aside_when_the_agent_died_is_planned_and_removed_by_the_next_or_by_cleanup()
-> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let pods: Vec<Pod<'_>> = (0..3).map(|_| runtime().pod(host)).collect::<Result<_>>()?;
        del_while_stopped(&cluster, &pods)?;
        cluster.agents[0].kill()?;
        for words in [&["plan"][..], &["cleanup", "--dry-run"]] {
            let shown = cluster.agents[0].command(words)?;
            let shown = String::from_utf8_lossy(&shown.stdout);
            ensure!(
                shown.contains("which DEL has set aside"),
                "{words:?}: {shown}"
            );
        }
        ensure!(waiting(host)? == 3, "a dry run removes nothing");
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        none_waits(host)?;

        let pods: Vec<Pod<'_>> = (0..3).map(|_| runtime().pod(host)).collect::<Result<_>>()?;
        del_while_stopped(&cluster, &pods)?;
        cluster.agents[0].kill()?;
        let done = cluster.agents[0].command(&["cleanup"])?;
        ensure!(done.status.success(), "{done:?}");
        ensure!(waiting(host)? == 0, "cleanup removes them");

        // Without an agent the plugin starts a process.
        host.sh(&format!("ln -sfn tweed {OUR_PLUGINS}/bridge"))?;
        let pod = by_bridge().pod(host)?;
        by_bridge().del(&pod, "eth0")?;
        none_waits(host)
    })
}

/// `bridge` by itself, which needs no agent.
fn by_bridge() -> Runtime {
    Runtime::single(serde_json::json!({
        "type": "bridge", "bridge": "cni7", "fastDel": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]},
    }))
}
