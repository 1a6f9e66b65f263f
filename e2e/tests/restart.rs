//! The agent ends, in whichever way, and starts again: no packet gets lost, nothing is rewritten.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::observe;
use tweed_lab::topology::Topology;
use tweed_lab::traffic::Stream;
use tweed_lab::wait::eventually;
use tweed_model::Family;

#[test]
fn sigterm_ends_the_agent_within_a_second_and_leaves_everything_in_place() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        cluster.talks(Family::V4)?;
        let before = observe::snapshot(&lab.hosts[0])?;
        let (status, taken) = cluster.agents[0].terminate()?;
        ensure!(status.code() == Some(0), "ended with {status}");
        ensure!(taken < Duration::from_secs(1), "took {taken:?}");
        let changed = observe::difference(&before, &observe::snapshot(&lab.hosts[0])?);
        ensure!(
            changed.is_empty(),
            "stopping changed {}",
            changed.join("\n")
        );
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

#[test]
fn a_restart_under_traffic_loses_no_packet_and_rewrites_nothing() -> Result<()> {
    restarts_unnoticed(|agent| agent.terminate().map(drop))
}

#[test]
fn kill_9_under_traffic_loses_no_packet_and_rewrites_nothing() -> Result<()> {
    restarts_unnoticed(|agent| agent.kill())
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

fn restarts_unnoticed(end: impl Fn(&mut Agent<'_>) -> Result<()>) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
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
        let lines = watch.stop()?;
        ensure!(lines.is_empty(), "restarting changed\n{}", lines.join("\n"));
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(
            changed.is_empty(),
            "restarting changed\n{}",
            changed.join("\n")
        );
        for stream in streams {
            let loss = stream.stop()?;
            ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");
        }
        Ok(())
    })
}

#[test]
fn a_subnet_is_kept_over_a_reboot_and_so_is_the_mac() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let subnet = cluster.agents[0].subnet(Family::V4)?;
        let peer = cluster.peer(0, Family::V4)?;
        cluster.agents[0].kill()?;
        // What a reboot takes: devices, rules, and /run. The lease may have run out meanwhile.
        host.sh("ip link del flannel.1")?;
        host.sh("ip link del flannel-v6.1")?;
        host.sh("nft flush ruleset")?;
        host.sh("rm -rf /run/flannel /run/tweed")?;
        let (key, _) = cluster.etcd()?.lease_of(host.v4())?;
        cluster
            .etcd()?
            .delete(&format!("/coreos.com/network/subnets/{key}"))?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        ensure!(agent.subnet(Family::V4)? == subnet, "another subnet");
        let again = cluster.peer(0, Family::V4)?;
        ensure!(again.mac == peer.mac, "another MAC: {}", again.mac);
        cluster.agents[0] = agent;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

#[test]
fn a_host_comes_up_without_its_store_from_what_it_had_saved() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        cluster.talks(Family::V4)?;
        let host = &lab.hosts[0];
        // Peers are saved at most every five seconds.
        let peer = cluster.agents[1].subnet(Family::V4)?.to_string();
        let key = peer.replace('/', "-");
        eventually("the peer is saved", || {
            host.sh(&format!(
                "grep -rq --include=peers.json {key} /var/lib/tweed"
            ))
        })?;
        cluster.agents[0].kill()?;
        cluster.etcd()?.stop()?;
        host.sh("ip link del flannel.1")?;
        host.sh("rm -rf /run/flannel /run/tweed")?;
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        cluster.talks(Family::V4)?;
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
