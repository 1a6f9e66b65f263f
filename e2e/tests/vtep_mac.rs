//! Another node's VTEP MAC, announced by somebody else: as long as that node has it, and while its lease is gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::store_writer::refused;

#[test]
fn a_vtep_mac_stays_with_the_node_that_announced_it_first_until_that_one_is_gone() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        // A lease older than any of the nodes', to be used against them.
        let mut thief = Node::of(&lab.hosts[0])?;
        thief.subnet = "10.244.200.0/24".parse()?;
        thief.public = "198.18.0.200".parse()?;
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        thief.announce(&etcd)?;
        let mut agents = Vec::new();
        for host in &lab.hosts {
            let mut agent = Agent::start(lab, host, &Launch::etcd())?;
            agent.ready()?;
            agents.push(agent);
        }
        agents[0].sees(2)?;
        let victim = agents[1].subnet(Family::V4)?.to_string();
        let (key, stored) = etcd.lease_of(lab.hosts[1].v4())?;
        let mac = stored["BackendData"]["VtepMAC"].as_str().context("a MAC")?;
        thief.mac = mac.to_owned();
        thief.announce(&etcd)?;
        let host = &lab.hosts[0];
        let goes = |to: &Host| -> Result<()> {
            let fdb = host.sh("bridge fdb show dev flannel.1")?;
            let words = format!("{mac} dst {} ", to.v4());
            ensure!(fdb.contains(&words), "no {words:?} in {fdb}");
            Ok(())
        };
        refused(&agents[0], "10.244.200.0/24", "had it first")?;
        goes(&lab.hosts[1])?;
        // The order outlasts a restart: the saved peers keep it.
        eventually("the peers are saved", || {
            host.sh("grep -rqs --include=peers.json since /var/lib/tweed")
        })?;
        std::thread::sleep(Duration::from_secs(6));
        agents[0].terminate()?;
        agents[0] = Agent::start(lab, host, &Launch::etcd())?;
        agents[0].ready()?;
        refused(&agents[0], "10.244.200.0/24", "had it first")?;
        goes(&lab.hosts[1])?;
        // The victim goes for good: then the MAC is anybody's.
        agents[1].terminate()?;
        etcd.delete(&format!("{PREFIX}/subnets/{key}"))?;
        eventually("the other one is a peer", || {
            let status = agents[0].status()?;
            ensure!(
                status["refused"].as_array().is_some_and(Vec::is_empty),
                "{status}"
            );
            let routes = host.sh("ip route show dev flannel.1")?;
            ensure!(
                !routes.contains(&victim) && routes.contains("10.244.200.0"),
                "{routes}"
            );
            Ok(())
        })
    })
}

/// A lease older than the other nodes', with an address of its own.
fn thief(host: &Host) -> Result<Node> {
    Ok(Node {
        subnet: "10.244.200.0/24".parse()?,
        public: "198.18.0.200".parse()?,
        ..Node::of(host)?
    })
}

/// host2 has lost its MAC to the thief, has drawn another one, and its pod is reached by that.
fn is_reached_by_another_mac(cluster: &Cluster<'_>, hosts: &[Host], lost: &str) -> Result<()> {
    let key = "10.244.200.0/24";
    eventually("host2 has another MAC", || {
        let mac = observe::mac(&hosts[1], "flannel.1")?;
        ensure!(mac != lost, "it has {mac} still");
        let fdb = hosts[0].sh("bridge fdb show dev flannel.1")?;
        let words = format!("{mac} dst {} ", hosts[1].v4());
        ensure!(fdb.contains(&words), "no {words:?} in {fdb}");
        Ok(())
    })?;
    for agent in &cluster.agents {
        let status = agent.status()?;
        let refused = status["refused"].as_array().context("a list")?;
        ensure!(
            refused.is_empty(),
            "{key} or another one is refused: {refused:?}"
        );
    }
    cluster.talks(Family::V4)
}

#[test]
fn a_node_whose_mac_was_taken_while_its_lease_was_gone_takes_another_one() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (victim, mut thief) = (&lab.hosts[1], thief(&lab.hosts[0])?);
        let (key, _) = cluster.etcd()?.lease_of(victim.v4())?;
        let mac = observe::mac(victim, "flannel.1")?;
        cluster.agents[1].terminate()?;
        cluster.etcd()?.delete(&format!("{PREFIX}/subnets/{key}"))?;
        thief.mac.clone_from(&mac);
        thief.announce(cluster.etcd()?)?;
        eventually("the thief is a peer", || {
            let fdb = lab.hosts[0].sh("bridge fdb show dev flannel.1")?;
            ensure!(
                fdb.contains(&format!("{mac} dst {} ", thief.public)),
                "{fdb}"
            );
            Ok(())
        })?;
        cluster.agents[1] = Agent::start(lab, victim, &cluster.launch)?;
        cluster.agents[1].ready()?;
        is_reached_by_another_mac(&cluster, &lab.hosts, &mac)
    })
}

/// With the address of the node it is taken for that node's earlier lease. It takes another address once it is the first.
#[test]
fn a_mac_that_came_with_its_nodes_address_is_lost_to_nobody_when_that_address_changes() -> Result<()>
{
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (victim, mut thief) = (&lab.hosts[1], thief(&lab.hosts[0])?);
        let far = thief.public;
        let (key, _) = cluster.etcd()?.lease_of(victim.v4())?;
        let mac = observe::mac(victim, "flannel.1")?;
        (thief.mac, thief.public) = (mac.clone(), victim.v4());
        thief.announce(cluster.etcd()?)?;
        cluster.agents[0].sees(2)?;
        cluster.etcd()?.delete(&format!("{PREFIX}/subnets/{key}"))?;
        eventually("the lease is taken anew", || {
            let leases = cluster.etcd()?.leases(PREFIX)?;
            ensure!(leases.iter().any(|(other, _)| *other == key), "{leases:?}");
            Ok(())
        })?;
        cluster.agents[0].sees(2)?;
        thief.public = far;
        thief.announce(cluster.etcd()?)?;
        is_reached_by_another_mac(&cluster, &lab.hosts, &mac)
    })
}
