//! The operator puts another pod network in the place of the one that stands: every node moves, and back again.

use anyhow::{Result, ensure};
use ipnet::IpNet;
use serde_json::json;
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{config, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::Topology;
use tweed_lab::traffic::Stream;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::config_change::{agent_rules, all, drain, on_each_store, ready};

/// The pods of the old network can't be kept; everything else of it goes, also if the agent was away meanwhile.
#[test]
fn another_network_gives_new_leases_and_sweeps_the_routes_of_the_old_one() -> Result<()> {
    let moved =
        |backend: &str| json!({ "Network": "10.99.0.0/16", "Backend": { "Type": backend } });
    for backend in ["vxlan", "host-gw"] {
        Topology::hosts(2).play(|lab| {
            let before = config(&[Family::V4], &json!({ "Type": backend }));
            let mut cluster = Cluster::on_etcd(lab, &before)?;
            // One agent sees the change, the other one at its next start.
            cluster.agents[1].kill()?;
            cluster.launch.set_config(lab, &moved(backend))?;
            cluster.agents[1] = Agent::start(lab, &lab.hosts[1], &cluster.launch)?;
            let network: IpNet = "10.99.0.0/16".parse()?;
            for agent in &cluster.agents {
                eventually("a lease within the new network", || {
                    let subnet = agent.subnet(Family::V4)?;
                    ensure!(network.contains(&subnet), "{subnet}");
                    Ok(())
                })?;
            }
            all(lab, "routes of the new network only", |host| {
                let left = peer_routes(host, Family::V4)?;
                ensure!(left.is_empty(), "routes of the old network: {left:?}");
                let routes = observe::own_routes(host, Family::V4)?;
                ensure!(
                    routes.lines().count() == 1 && routes.starts_with("10.99."),
                    "{routes}"
                );
                let rules = agent_rules(host)?;
                ensure!(!rules.contains("10.244."), "{rules}");
                Ok(())
            })?;
            drain(&cluster)?;
            ready(&mut cluster)
        })?;
    }
    Ok(())
}

/// A mistake that is put right costs the nodes nothing but the time between.
#[test]
fn the_old_network_put_back_gives_every_node_its_old_subnet() -> Result<()> {
    on_each_store(&vxlan(), |lab, cluster| {
        let subnets = |cluster: &Cluster<'_>| -> Result<Vec<IpNet>> {
            let agents = cluster.agents.iter();
            agents.map(|agent| agent.subnet(Family::V4)).collect()
        };
        let before = subnets(cluster)?;
        let network: IpNet = "10.99.0.0/16".parse()?;
        let moved = json!({ "Network": network.to_string(), "Backend": { "Type": "vxlan" } });
        cluster.launch.set_config(lab, &moved)?;
        eventually("subnets of the other network", || {
            let now = subnets(cluster)?;
            ensure!(now.iter().all(|subnet| network.contains(subnet)), "{now:?}");
            Ok(())
        })?;
        let said = ["the pod network changes", "10.244.0.0/16", "10.99.0.0/16"];
        cluster.agents[0].logged(&said)?;
        cluster.launch.set_config(lab, &vxlan())?;
        eventually("the old subnets", || {
            let now = subnets(cluster)?;
            ensure!(now == before, "{now:?}, they were {before:?}");
            Ok(())
        })?;
        ready(cluster)?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_network_that_stands_in_the_store_for_a_moment_only_moves_nobody() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let before = cluster.agents[0].subnet(Family::V4)?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        let moved = json!({ "Network": "10.99.0.0/16", "Backend": { "Type": "vxlan" } });
        cluster.launch.set_config(lab, &moved)?;
        cluster.agents[0].logged(&["session ends", "the network configuration changed"])?;
        cluster.launch.set_config(lab, &vxlan())?;
        cluster.agents[0].logged(&["waiting", "10.99.0.0/16", "no longer does"])?;
        ready(&mut cluster)?;
        let loss = stream.stop()?;
        ensure!(loss.sent > 50 && loss.lost == 0, "{loss:?}");
        let after = cluster.agents[0].subnet(Family::V4)?;
        ensure!(after == before, "{after}, it was {before}");
        let log = cluster.agents[0].log()?;
        ensure!(!log.contains("the pod network changes"), "it moved");
        Ok(())
    })
}
