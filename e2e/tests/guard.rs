//! A store that loses its data does not take the network with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, config, vxlan};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

const PEERS: u8 = 8;

#[test]
fn an_empty_store_waits_for_the_operator() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let (etcd, agent) = crowd(lab)?;
        etcd.ctl(&["del", "--prefix", &format!("{PREFIX}/subnets/")])?;
        stays("every route", Duration::from_secs(4), || count(lab, PEERS))?;
        let status = agent.status()?.to_string();
        ensure!(
            status.contains("tweedd confirm"),
            "status does not say: {status}"
        );
        let code = agent.command(&["status"])?.status.code();
        ensure!(
            code == Some(2),
            "exit code {code:?} of a node that is not ready"
        );
        let said = agent.log()?.matches("deletions held back").count();
        ensure!(said == 1, "the log says it {said} times");
        let output = agent.command(&["confirm"])?;
        eventually("the routes go once the operator has confirmed", || {
            count(lab, 0)
        })
        .map_err(|error| error.context(format!("{}", String::from_utf8_lossy(&output.stderr))))
    })
}

#[test]
fn an_empty_store_of_three_nodes_waits_too_and_nodes_that_come_back_cost_no_route() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        // Nothing of etcd reaches the second host, as if its agent had not come back.
        lab.hosts[1].sh("iptables -A INPUT -s 198.18.0.254 -j DROP")?;
        let etcd = cluster.etcd()?;
        etcd.stop()?;
        lab.switch.place().sh("rm -rf /var/lib/etcd/lab")?;
        etcd.resume()?;
        etcd.put_config(&vxlan())?;
        stays("both peers' routes", Duration::from_secs(8), || {
            count(lab, 2)
        })?;
        let agent = &cluster.agents[0];
        ensure!(
            agent.metric("tweed_peers")? == 2.0,
            "the metric counts what is programmed"
        );
        // The third one has put its lease back; the second one's stays for as long as lists may still bring it.
        eventually("one is back, one is held", || {
            let status = agent.status()?;
            let (peers, held) = (&status["peers"], &status["kernel"]["held_peers"]);
            ensure!(*peers == 1 && *held == 1, "{status}");
            Ok(())
        })?;
        lab.hosts[1].sh("iptables -D INPUT -s 198.18.0.254 -j DROP")?;
        agent.sees(2)?;
        cluster.agents[0].ready()?;
        ensure!(peer_routes(host, Family::V4)?.len() == 2, "routes");
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_store_without_a_single_peer_waits_for_the_operator_and_a_release_does_not() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let key = |number| -> Result<String> {
            Ok(format!("{PREFIX}/subnets/{}", peer(lab, number)?.key()))
        };
        for number in 0..2 {
            peer(lab, number)?.announce(&etcd)?;
        }
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        agent.ready()?;
        agent.sees(2)?;
        // They are seen to be removed one after the other: an operator did that.
        etcd.delete(&key(0)?)?;
        eventually("the first one goes", || count(lab, 1))?;
        etcd.delete(&key(1)?)?;
        eventually("the last one goes", || count(lab, 0))?;
        for number in 0..2 {
            peer(lab, number)?.announce(&etcd)?;
        }
        eventually("both are back", || count(lab, 2))?;
        // An etcd that has lost everything is another matter.
        etcd.stop()?;
        lab.switch.place().sh("rm -rf /var/lib/etcd/lab")?;
        etcd.resume()?;
        etcd.put_config(&vxlan())?;
        agent.logged(&["deletions held back", "no lease in the store"])?;
        stays("every route", Duration::from_secs(3), || count(lab, 2))?;
        let words = agent.command(&["status"])?.stdout;
        let words = String::from_utf8_lossy(&words).into_owned();
        ensure!(
            words.contains("2 that stay though the store lacks them"),
            "{words}"
        );
        ensure!(agent.metric("tweed_peers")? == 2.0, "the metric");
        ensure!(
            agent.metric("tweed_peers_held")? == 2.0,
            "the metric of those held"
        );
        agent.command(&["confirm"])?;
        eventually("the routes go once the operator has confirmed", || {
            count(lab, 0)
        })
    })
}

#[test]
fn most_peers_at_once_go_only_after_a_second_list_that_says_the_same() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let (etcd, agent) = crowd(lab)?;
        // All but the own lease and that of the first peer, at once.
        let key = |number| -> Result<String> {
            Ok(format!("{PREFIX}/subnets/{}", peer(lab, number)?.key()))
        };
        etcd.ctl(&["del", "--", &key(1)?, &key(PEERS)?])?;
        eventually("the peers go", || count(lab, 1))?;
        agent.logged(&["second full list"])?;
        Ok(())
    })
}

#[test]
fn peers_of_our_own_data_plane_wait_for_the_operator_too_and_outlast_a_restart() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &config(&[Family::V4], &json!({ "Type": "udp" })))?;
        for number in 0..PEERS {
            let peer = peer(lab, number)?;
            let lease = json!({ "PublicIP": peer.public });
            let key = format!("{PREFIX}/subnets/{}", peer.key());
            cluster.etcd()?.put(&key, &lease.to_string())?;
        }
        cluster.agents[0].sees(usize::from(PEERS) + 1)?;
        let key = peer(lab, PEERS - 1)?.key();
        eventually("the peers are saved", || {
            lab.hosts[0].sh(&format!(
                "grep -rq --include=peers.json {key} /var/lib/tweed"
            ))
        })?;
        // Nothing of etcd reaches the second host, which so does not put its lease back.
        lab.hosts[1].sh("iptables -A INPUT -s 198.18.0.254 -j DROP")?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        let subnets = format!("{PREFIX}/subnets/");
        cluster.etcd()?.ctl(&["del", "--prefix", &subnets])?;
        cluster.agents[0].logged(&["deletions held back", "no lease in the store"])?;
        std::thread::sleep(Duration::from_secs(2));
        let loss = stream.stop()?;
        ensure!(loss.sent > 100 && loss.lost == 0, "{loss:?}");

        // The store's new list must not have been saved: a restarted agent knows only the saved peers.
        cluster.agents[0].terminate()?;
        cluster.agents[0] = Agent::start(lab, &lab.hosts[0], &cluster.launch)?;
        let [from, to] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        eventually("held back again", || {
            let status = cluster.agents[0].status()?.to_string();
            ensure!(status.contains("tweedd confirm"), "{status}");
            Ok(())
        })?;
        stays("the pods talk", Duration::from_secs(3), || {
            traffic::ping(from.place(), to.v4()?).map(drop)
        })?;
        cluster.agents[0].command(&["confirm"])?;
        eventually("the peer goes once the operator has confirmed", || {
            let answer = traffic::ping(from.place(), to.v4()?);
            ensure!(answer.is_err(), "the pods talk still");
            Ok(())
        })
    })
}

/// One agent with eight peers that exist in the store only.
fn crowd(lab: &Lab) -> Result<(Etcd<'_>, Agent<'_>)> {
    let etcd = Etcd::start(lab)?;
    etcd.put_config(&vxlan())?;
    for number in 0..PEERS {
        peer(lab, number)?.announce(&etcd)?;
    }
    let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
    agent.ready()?;
    agent.sees(usize::from(PEERS))?;
    Ok((etcd, agent))
}

fn peer(lab: &Lab, number: u8) -> Result<Node> {
    let mut node = Node::of(&lab.hosts[0])?;
    node.subnet = format!("10.244.{}.0/24", 100 + number).parse()?;
    node.public = format!("198.18.0.{}", 100 + number).parse()?;
    node.mac = format!("a2:00:00:00:03:{number:02x}");
    Ok(node)
}

fn count(lab: &Lab, wanted: u8) -> Result<()> {
    let routes = peer_routes(&lab.hosts[0], Family::V4)?;
    ensure!(routes.len() == usize::from(wanted), "routes {routes:?}");
    Ok(())
}
