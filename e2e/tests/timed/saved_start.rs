//! A node with saved state starts from it, whatever its store does meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::fault::Peer;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::observe;
use tweed_lab::relay::{Relay, SILENT};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

/// From the start of the process until its kernel is programmed.
const LIMIT: Duration = Duration::from_millis(300);
/// Of so many starts one has to be that fast: the machine may have more to do.
const STARTS: usize = 5;

#[test]
fn a_node_with_saved_state_programs_its_kernel_in_300_ms_whatever_its_store_does() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let peer = cluster.peer(1, Family::V4)?;
        are_saved(host, &cluster.agents[1])?;
        let lease = cluster.etcd()?.lease_of(host.v4())?;
        let relay = Relay::start(lab, SILENT)?;
        let refused = Launch::etcd().endpoint("http://198.18.0.254:2399");
        for (what, launch, delay) in [
            (
                "takes connections and never answers",
                Relay::launch()?,
                SILENT,
            ),
            ("refuses connections", refused, 0),
            ("takes a second for each answer", Relay::launch()?, 500),
        ] {
            relay.set(delay);
            let fastest = fastest_start(lab, &mut cluster, &launch, &peer)?;
            println!("a store that {what}: {fastest:?}");
            ensure!(fastest < LIMIT, "a store that {what}: {fastest:?}");
        }
        // It answers at last: the lease is confirmed, and nothing else happens.
        relay.set(SILENT);
        restart(lab, &mut cluster, &Relay::launch()?)?;
        let agent = &cluster.agents[0];
        eventually("it says that the store has confirmed nothing", || {
            let (status, reason) = agent.get("/readyz")?;
            ensure!(
                status == 503 && reason.contains("has not confirmed"),
                "{status} {reason}"
            );
            Ok(())
        })?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        let before = observe::snapshot(host)?;
        let watch = observe::Watch::start(host)?;
        relay.set(0);
        cluster.agents[0].ready()?;
        let lines = watch.stop()?;
        ensure!(lines.is_empty(), "it changed\n{}", lines.join("\n"));
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "it changed\n{}", changed.join("\n"));
        let loss = stream.stop()?;
        ensure!(loss.lost == 0, "{loss:?}");
        ensure!(
            cluster.etcd()?.lease_of(host.v4())? == lease,
            "another lease"
        );
        let log = cluster.agents[0].log()?;
        ensure!(
            !log.contains("session ends"),
            "the session was begun anew:\n{log}"
        );
        Ok(())
    })
}

#[test]
fn lock_and_socket_are_made_again_while_the_agent_waits_for_its_first_session() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::etcd().endpoint("http://198.18.0.254:2399");
        let agent = Agent::start(lab, host, &launch)?;
        eventually("it waits", || {
            let waiting = agent.status()?["waiting"].to_string();
            ensure!(waiting.contains("198.18.0.254"), "{waiting}");
            Ok(())
        })?;
        host.sh("rm /run/tweed/tweed.lock /run/tweed/tweedd.sock")?;
        let limit = Duration::from_secs(5);
        timed("lock and socket are back", limit, || {
            host.sh("test -f /run/tweed/tweed.lock")?;
            let status = agent.status()?;
            ensure!(status["pid"].is_u64(), "no agent answers: {status}");
            Ok(())
        })?;
        Ok(())
    })
}

/// Waits until the state folder knows the other node: peers are saved at most every five seconds.
fn are_saved(host: &Host, other: &Agent<'_>) -> Result<()> {
    let key = other.subnet(Family::V4)?.to_string().replace('/', "-");
    eventually("the peer is saved", || {
        host.sh(&format!(
            "grep -rq --include=peers.json {key} /var/lib/tweed"
        ))
        .map(drop)
    })
}

fn fastest_start<'lab>(
    lab: &'lab Lab,
    cluster: &mut Cluster<'lab>,
    launch: &Launch,
    peer: &Peer,
) -> Result<Duration> {
    let host = &lab.hosts[0];
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        restart(lab, cluster, launch)?;
        let route = format!("ip route show {}", peer.subnet);
        let (_, taken) = timed("the peer is routed", Duration::from_secs(4), || {
            let found = host.sh(&route)?;
            ensure!(found.contains("flannel.1"), "{found}");
            Ok(())
        })?;
        peer.is_programmed(host)?;
        fastest = fastest.min(taken);
    }
    Ok(fastest)
}

/// Kills the first agent, takes its device away, and starts it again like this.
fn restart<'lab>(lab: &'lab Lab, cluster: &mut Cluster<'lab>, launch: &Launch) -> Result<()> {
    let host = &lab.hosts[0];
    cluster.agents[0].kill()?;
    host.sh("ip link del flannel.1")?;
    cluster.agents[0] = Agent::start(lab, host, launch)?;
    Ok(())
}
