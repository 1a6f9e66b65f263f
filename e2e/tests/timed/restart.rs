//! The agent ends, in whichever way, and starts again: no packet gets lost, nothing is rewritten.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::backend::Backend;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::observe;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::backends::each_backend;

/// The state folder of the first instance.
const STATE: &str = "/var/lib/tweed/tweed";
/// What an agent keeps in its own.
const SAVED: [&str; 5] = [
    "agent.json",
    "identity.json",
    "lease.json",
    "lock",
    "peers.json",
];

each_backend! {
    all: [
        sigterm_ends_the_agent_within_a_second_and_leaves_everything_in_place,
        a_restart_under_traffic_loses_no_packet_and_rewrites_nothing,
        kill_9_under_traffic_loses_no_packet_and_rewrites_nothing,
        kill_9_at_any_moment_of_programming_leaves_nothing_that_the_next_start_does_not_mend,
        a_subnet_is_kept_over_a_reboot_and_so_is_the_mac,
        a_host_comes_up_without_its_store_from_what_it_had_saved,
    ],
}

fn sigterm_ends_the_agent_within_a_second_and_leaves_everything_in_place(
    backend: &Backend,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        let host = &lab.hosts[0];
        let before = observe::snapshot(host)?;
        let (status, taken) = cluster.agents[0].terminate()?;
        ensure!(status.code() == Some(0), "ended with {status}");
        ensure!(taken < Duration::from_secs(1), "took {taken:?}");
        for family in Family::BOTH {
            backend.leads(host, &cluster.agents[1], family)?;
        }
        if !backend.pause.is_zero() {
            return Ok(());
        }
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "it changed {}", changed.join("\n"));
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

fn a_restart_under_traffic_loses_no_packet_and_rewrites_nothing(backend: &Backend) -> Result<()> {
    restarts_unnoticed(backend, |agent| agent.terminate().map(drop))
}

fn kill_9_under_traffic_loses_no_packet_and_rewrites_nothing(backend: &Backend) -> Result<()> {
    restarts_unnoticed(backend, |agent| agent.kill())
}

/// Where the agent carries the packets itself, those are lost that come while it is away, and its device says so.
fn restarts_unnoticed(backend: &Backend, end: impl Fn(&mut Agent<'_>) -> Result<()>) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let streams = Family::BOTH
            .into_iter()
            .map(|family| Stream::start(&cluster.pods[0], &cluster.pods[1], family))
            .collect::<Result<Vec<_>>>()?;
        let host = &lab.hosts[0];
        let before = observe::snapshot(host)?;
        let watch = observe::Watch::start(host)?;
        for _ in 0..3 {
            end(&mut cluster.agents[0])?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            agent.ready()?;
            cluster.agents[0] = agent;
        }
        let mut lines = watch.stop()?;
        if !backend.pause.is_zero() {
            lines.retain(|line| !backend.devices().iter().any(|device| line.contains(device)));
        }
        ensure!(lines.is_empty(), "restarting changed\n{}", lines.join("\n"));
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "it changed {}", changed.join("\n"));
        for stream in streams {
            let loss = stream.stop()?;
            println!("{loss:?}");
            let unnoticed = match backend.pause {
                Duration::ZERO => loss.lost == 0,
                pause => loss.gap < pause,
            };
            ensure!(loss.sent > 20 && unnoticed, "{loss:?}");
        }
        Ok(())
    })
}

fn kill_9_at_any_moment_of_programming_leaves_nothing_that_the_next_start_does_not_mend(
    backend: &Backend,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let host = &lab.hosts[0];
        for delay in [5, 15, 25, 35, 45, 60, 80] {
            cluster.agents[0].kill()?;
            backend.wipe(host)?;
            host.sh("nft flush ruleset")?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            thread::sleep(Duration::from_millis(delay));
            agent.kill()?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            agent.ready()?;
            cluster.agents[0] = agent;
            for family in Family::BOTH {
                backend.leads(host, &cluster.agents[1], family)?;
            }
            let left = fs::read_dir(host.path(STATE))?.flatten();
            let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let strange: Vec<_> = left.filter(|name| !SAVED.contains(&&**name)).collect();
            // The file that was being written when the agent was killed.
            ensure!(strange.len() <= 1, "files pile up: {strange:?}");
        }
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

fn a_subnet_is_kept_over_a_reboot_and_so_is_the_mac(backend: &Backend) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let host = &lab.hosts[0];
        let macs = |host: &Host| -> Result<Vec<Value>> {
            let devices = backend.devices().iter();
            devices
                .map(|device| Ok(observe::link(host, device)?["address"].clone()))
                .collect()
        };
        let (subnets, before) = (cluster.agents[0].subnet_env()?.subnets, macs(host)?);
        cluster.agents[0].kill()?;
        // What a reboot takes: devices, routes, rules, and /run. The lease may have run out meanwhile.
        backend.wipe(host)?;
        host.sh("nft flush ruleset")?;
        host.sh("rm -rf /run/flannel /run/tweed")?;
        let (key, _) = cluster.etcd()?.lease_of(host.v4())?;
        cluster
            .etcd()?
            .delete(&format!("/coreos.com/network/subnets/{key}"))?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        ensure!(agent.subnet_env()?.subnets == subnets, "other subnets");
        let after = macs(host)?;
        ensure!(before == after, "other MACs: {before:?}, {after:?}");
        cluster.agents[0] = agent;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

fn a_host_comes_up_without_its_store_from_what_it_had_saved(backend: &Backend) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let host = &lab.hosts[0];
        // Peers are saved at most every five seconds.
        let (key, _) = cluster.etcd()?.lease_of(lab.hosts[1].v4())?;
        eventually("the peer is saved", || {
            host.sh(&format!(
                "grep -rq --include=peers.json {key} /var/lib/tweed"
            ))
        })?;
        cluster.agents[0].kill()?;
        cluster.etcd()?.stop()?;
        backend.wipe(host)?;
        host.sh("rm -rf /run/flannel /run/tweed")?;
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        eventually("readiness turns red", || {
            let (status, reason) = cluster.agents[0].get("/readyz")?;
            ensure!(status == 503, "/readyz answers {status} {reason}");
            Ok(())
        })?;
        cluster.etcd()?.resume()?;
        cluster.agents[0].ready()?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn the_plugins_status_tells_a_killed_agent_from_one_that_restarts() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let mut runtime = Runtime::tweed();
        "1.1.0".clone_into(&mut runtime.cni_version);
        let code = |pod: &Pod<'_>| -> Result<Value> {
            let plugin = &runtime.plugins[0];
            let answer = runtime.call("STATUS", plugin, pod, "eth0", &Value::Null)?;
            Ok(answer.output["code"].clone())
        };
        ensure!(code(&cluster.pods[0])? == Value::Null, "it runs");
        cluster.agents[0].terminate()?;
        ensure!(
            code(&cluster.pods[0])? == Value::Null,
            "it may be restarted"
        );
        for _ in 0..2 {
            let mut agent = Agent::start(lab, &lab.hosts[0], &cluster.launch)?;
            agent.ready()?;
            ensure!(code(&cluster.pods[0])? == Value::Null, "it runs again");
            agent.kill()?;
            let code = code(&cluster.pods[0])?;
            ensure!(code == 51, "it was killed: {code}");
        }
        Ok(())
    })
}
