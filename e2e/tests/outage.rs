//! The store goes away, forgets, or gives our lease to somebody else.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::backend::Backend;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use super::backends::each_backend;

each_backend! {
    all: [
        without_etcd_pods_keep_talking_drift_is_repaired_and_changes_are_caught_up_with,
    ],
}

fn without_etcd_pods_keep_talking_drift_is_repaired_and_changes_are_caught_up_with(
    backend: &Backend,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&[Family::V4]))?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        cluster.etcd()?.stop()?;
        std::thread::sleep(Duration::from_secs(2));
        let loss = stream.stop()?;
        ensure!(loss.sent > 50 && loss.lost == 0, "{loss:?}");

        let host = &lab.hosts[0];
        backend.wipe(host)?;
        eventually("repaired without the store", || {
            backend.leads(host, &cluster.agents[1], Family::V4)
        })?;
        cluster.talks(Family::V4)?;
        // Readiness turns red after ten seconds, too long to wait for here; status says it at once.
        eventually("status tells", || {
            let status = cluster.agents[0].status()?.to_string();
            ensure!(status.contains("198.18.0.254"), "{status}");
            Ok(())
        })?;

        cluster.etcd()?.resume()?;
        let joined = newcomer(lab, 250)?;
        let value = backend.lease_of(&joined).to_string();
        cluster
            .etcd()?
            .put(&format!("{PREFIX}/subnets/{}", joined.key()), &value)?;
        cluster.agents[0]
            .sees(2)
            .context("a lease made after the outage")?;
        cluster.agents[0].ready()?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_silent_etcd_shows_in_status_and_readiness_within_about_ten_seconds() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        agent.ready()?;
        etcd.freeze(true)?;
        silence_is_noticed(&agent).context("its process is stopped")?;
        etcd.freeze(false)?;
        agent.ready()?;
        ensure!(agent.metric("tweed_in_sync")? == 1.0, "not in sync again");
        for line in [
            "nft add table ip silence",
            "nft add chain ip silence in { type filter hook input priority 0 ; }",
            "nft add rule ip silence in tcp dport 2379 drop",
        ] {
            lab.switch.place().sh(line)?;
        }
        silence_is_noticed(&agent).context("packets are dropped")
    })
}

fn silence_is_noticed(agent: &Agent<'_>) -> Result<()> {
    let began = Instant::now();
    let status = eventually("the status says it", || {
        let status = agent.status()?;
        ensure!(status["in_sync"] == false, "{status}");
        Ok(status)
    })?;
    ensure!(status["lease"]["state"] == "unsure", "{status}");
    ensure!(agent.metric("tweed_in_sync")? == 0.0, "the metric");
    eventually("it is not ready", || {
        ensure!(agent.status()?["ready"] == false, "it is");
        Ok(())
    })?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(14), "{took:?}");
    Ok(())
}

#[test]
fn a_compacted_watch_is_followed_by_a_fresh_list_that_is_compared_in_full() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, kept) = (&lab.hosts[0], cluster.peer(1, Family::V4)?);
        let [gone, changed, new] = [250, 251, 252].map(|number| newcomer(lab, number));
        let (gone, mut changed, new) = (gone?, changed?, new?);
        for node in [&gone, &changed] {
            node.announce(cluster.etcd()?)?;
            let subnet = node.subnet.to_string();
            eventually("it is seen", || routed(host, &subnet))?;
        }

        // Nothing reaches the agent; meanwhile etcd changes, forgets how, and is another process afterwards.
        lab.switch.place().sh("ip link set to-host1 down")?;
        let etcd = cluster.etcd()?;
        etcd.delete(&format!("{PREFIX}/subnets/{}", gone.key()))?;
        changed.mac = "a2:00:00:00:00:99".to_owned();
        changed.announce(etcd)?;
        new.announce(etcd)?;
        etcd.compact()?;
        etcd.stop()?;
        etcd.resume()?;
        lab.switch.place().sh("ip link set to-host1 up")?;

        eventually("the fresh list is compared in full", || {
            routed(host, &new.subnet.to_string())?;
            ensure!(
                routed(host, &gone.subnet.to_string()).is_err(),
                "the lease that went is still routed"
            );
            let fdb = host.sh("bridge fdb show dev flannel.1")?;
            ensure!(fdb.contains(&changed.mac), "old MAC: {fdb}");
            kept.is_programmed(host)
        })?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_lease_that_was_deleted_is_taken_back_while_pods_keep_talking() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let (key, value) = cluster.etcd()?.lease_of(host.v4())?;
        let path = format!("{PREFIX}/subnets/{key}");
        cluster.etcd()?.delete(&path)?;
        let etcd = cluster.etcd()?;
        eventually("the lease is back", || {
            let (again, data) = etcd.lease_of(host.v4())?;
            ensure!(again == key && data == value, "{again} {data}");
            Ok(())
        })?;
        let lease = etcd.meta(&path)?;
        ensure!(lease["lease"].as_i64() > Some(0), "without end: {lease}");
        cluster.talks(Family::V4)?;
        cluster.agents[0].ready()?;
        Ok(())
    })
}

#[test]
fn a_subnet_taken_by_another_node_is_given_up_for_a_new_one() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let (old, _) = cluster.etcd()?.lease_of(host.v4())?;
        let mut thief = newcomer(lab, 253)?;
        thief.subnet = old.replace('-', "/").parse()?;
        thief.announce(cluster.etcd()?)?;
        let etcd = cluster.etcd()?;
        let (new, _) = eventually("another subnet is leased", || etcd.lease_of(host.v4()))?;
        ensure!(new != old, "both hold {old}");
        let wanted: ipnet::IpNet = new.replace('-', "/").parse()?;
        eventually("subnet.env follows", || {
            let found = cluster.agents[0].subnet(Family::V4)?;
            ensure!(found == wanted, "it says {found}");
            Ok(())
        })?;
        let peer = &lab.hosts[1];
        eventually("peers follow", || {
            routed(peer, &wanted.to_string())?;
            let fdb = peer.sh("bridge fdb show dev flannel.1")?;
            ensure!(fdb.contains(&thief.mac), "the other holder: {fdb}");
            Ok(())
        })
    })
}

#[test]
fn a_lease_runs_out_with_its_node_and_comes_back_with_it() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster =
            Cluster::on_etcd_with(lab, &vxlan(), |launch| launch.arg("--lease-ttl=5"))?;
        let (first, second) = (&lab.hosts[0], &lab.hosts[1]);
        let subnet = cluster.agents[0].subnet(Family::V4)?.to_string();
        // Kept alive well beyond its time.
        stays("the lease", Duration::from_secs(5), || {
            routed(second, &subnet)
        })?;
        cluster.agents[0].signal(nix::sys::signal::Signal::SIGSTOP)?;
        eventually("a node that is silent loses its lease", || {
            ensure!(routed(second, &subnet).is_err(), "it is still routed");
            Ok(())
        })?;
        cluster.agents[0].signal(nix::sys::signal::Signal::SIGCONT)?;
        eventually("it takes its own subnet back", || routed(second, &subnet))?;
        let etcd = cluster.etcd()?;
        let (key, _) = etcd.lease_of(first.v4())?;
        ensure!(key == subnet.replace('/', "-"), "another subnet: {key}");
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_reservation_is_taken_up_and_keeps_having_no_end() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let mut reserved = Node::of(&lab.hosts[0])?;
        reserved.subnet = "10.244.123.0/24".parse()?;
        let path = format!("{PREFIX}/subnets/{}", reserved.key());
        etcd.put(&path, &reserved.value().to_string())?;
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        agent.ready()?;
        ensure!(
            agent.subnet(Family::V4)? == ipnet::IpNet::V4(reserved.subnet),
            "another subnet"
        );
        let meta = etcd.meta(&path)?;
        ensure!(meta.get("lease").is_none(), "it ends now: {meta}");
        Ok(())
    })
}

#[test]
fn twenty_agents_at_once_share_twenty_subnets_of_etcd_without_a_duplicate() -> Result<()> {
    Topology::hosts(AGENTS).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&tight())?;
        share(lab, &Launch::etcd())?;
        ensure!(etcd.leases(PREFIX)?.len() == AGENTS, "leases");
        Ok(())
    })
}

#[test]
fn twenty_agents_at_once_share_twenty_subnets_of_a_folder_without_a_duplicate() -> Result<()> {
    Topology::hosts(AGENTS).play(|lab| {
        let launch = Launch::file(lab);
        launch.set_config(lab, &tight())?;
        share(lab, &launch)
    })
}

const AGENTS: usize = 20;

/// A configuration with exactly as many subnets as agents.
fn tight() -> Value {
    let mut config = vxlan();
    config["SubnetMin"] = json!("10.244.1.0");
    config["SubnetMax"] = json!("10.244.20.0");
    config
}

fn share(lab: &Lab, launch: &Launch) -> Result<()> {
    let agents = Agent::everywhere(lab, launch)?;
    let mut subnets = agents
        .iter()
        .map(|agent| agent.subnet(Family::V4))
        .collect::<Result<Vec<_>>>()?;
    subnets.sort();
    subnets.dedup();
    ensure!(subnets.len() == AGENTS, "{} subnets", subnets.len());
    Ok(())
}

/// A node that exists in the store only.
fn newcomer(lab: &Lab, number: u8) -> Result<Node> {
    let mut node = Node::of(lab.hosts.first().context("a lab has hosts")?)?;
    node.subnet = format!("10.244.{number}.0/24").parse()?;
    node.public = format!("198.18.0.{number}").parse()?;
    node.mac = format!("a2:00:00:00:01:{number:02x}");
    Ok(node)
}

fn routed(host: &Host, subnet: &str) -> Result<()> {
    let routes = peer_routes(host, Family::V4)?;
    ensure!(
        routes.iter().any(|route| route.to_string() == subnet),
        "no route to {subnet} among {routes:?}"
    );
    Ok(())
}
