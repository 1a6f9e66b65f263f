//! IPv4 routes to peers lead by nexthop objects. What flannel has there is taken over and given back under traffic, and
//! agents of several networks have objects of their own each.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::backend::{Backend, DIRECT, HOST_GW, VXLAN};
use tweed_lab::cluster::Cluster;
use tweed_lab::document::blocks;
use tweed_lab::launch::{Launch, config};
use tweed_lab::observe;
use tweed_lab::topology::{Host, Lab, Topology, UPLINK};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// Waits until the one route from a host to an agent's pods leads by an object, or is a plain one.
fn leads_by_object(host: &Host, to: &Agent<'_>, by_object: bool) -> Result<()> {
    let subnet = to.subnet(Family::V4)?;
    eventually("the route to a peer", || {
        let route = observe::routes(host, &subnet)?;
        let one = route.lines().count() == 1 && route.contains(" via ");
        ensure!(one && route.contains(" nhid ") == by_object, "{route}");
        Ok(())
    })
}

/// Waits until the routes of all agents do, both ways.
fn all_lead_by_objects(lab: &Lab, agents: &[Agent<'_>], by_object: bool) -> Result<()> {
    leads_by_object(&lab.hosts[0], &agents[1], by_object)?;
    leads_by_object(&lab.hosts[1], &agents[0], by_object)
}

/// What flanneld does at its start to the route to a peer.
fn replace_as_flanneld(backend: &Backend, host: &Host, to: &Agent<'_>) -> Result<()> {
    let subnet = to.subnet(Family::V4)?;
    let route = match backend.device(Family::V4) {
        Some(dev) if !backend.is_direct() => {
            format!("{subnet} via {} dev {dev} onlink", subnet.network())
        }
        _ => format!("{subnet} via {} dev {UPLINK}", to.host().v4()),
    };
    host.sh(&format!("ip route replace {route} proto boot"))
        .map(drop)
}

#[test]
fn flannel_and_tweed_replace_each_others_routes_without_a_lost_packet() -> Result<()> {
    for backend in [VXLAN, DIRECT, HOST_GW] {
        Topology::hosts(2).play(|lab| {
            let network = backend.config(&[Family::V4]);
            let mut cluster =
                Cluster::on_etcd_with(lab, &network, |launch| launch.arg("--ip-masq"))?;
            all_lead_by_objects(lab, &cluster.agents, true)?;
            let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
            // flanneld comes back, without a cleanup.
            for agent in &mut cluster.agents {
                agent.terminate()?;
            }
            for (index, host) in lab.hosts.iter().enumerate() {
                replace_as_flanneld(&backend, host, &cluster.agents[1 - index])?;
            }
            all_lead_by_objects(lab, &cluster.agents, false)?;
            for (index, host) in lab.hosts.iter().enumerate() {
                let mut agent = Agent::start(lab, host, &cluster.launch)?;
                agent.ready()?;
                cluster.agents[index] = agent;
            }
            all_lead_by_objects(lab, &cluster.agents, true)?;
            for agent in &mut cluster.agents {
                agent.terminate()?;
                let output = agent.command(&["cleanup", "--hand-back"])?;
                ensure!(output.status.success(), "{output:?}");
                let objects = agent.host().sh("ip nexthop show")?;
                ensure!(objects.is_empty(), "left: {objects}");
            }
            all_lead_by_objects(lab, &cluster.agents, false)?;
            let loss = stream.stop()?;
            ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_node_is_given_back_to_flannel_by_hand_as_the_document_says() -> Result<()> {
    let test = "a_node_is_given_back_to_flannel_by_hand_as_the_document_says";
    let block = &blocks("docs/KUBERNETES.md", test)?[0];
    for backend in [VXLAN, HOST_GW] {
        Topology::hosts(2).play(|lab| {
            let network = backend.config(&[Family::V4]);
            let mut cluster =
                Cluster::on_etcd_with(lab, &network, |launch| launch.arg("--ip-masq"))?;
            all_lead_by_objects(lab, &cluster.agents, true)?;
            let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
            for agent in &mut cluster.agents {
                agent.terminate()?;
            }
            for (index, host) in lab.hosts.iter().enumerate() {
                // With host-gw flanneld leaves routes that lead where its own would.
                if !backend.is_direct() {
                    replace_as_flanneld(&backend, host, &cluster.agents[1 - index])?;
                }
                block.run(host.place(), Path::new("/"))?;
                let objects = host.sh("ip nexthop show")?;
                ensure!(objects.is_empty(), "left: {objects}");
                let tables = host.sh("nft list tables")?;
                ensure!(!tables.contains("inet tweed\n"), "{tables}");
            }
            all_lead_by_objects(lab, &cluster.agents, false)?;
            let loss = stream.stop()?;
            ensure!(loss.sent > 5 && loss.lost == 0, "{loss:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn two_networks_over_one_uplink_have_objects_of_their_own_each() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host_gw = json!({ "Type": "host-gw" });
        let mut cluster = Cluster::on_etcd(lab, &config(&[Family::V4], &host_gw))?;
        let folder = lab.folder.path().join("elsewhere");
        let launch = Launch::file_at(Path::new(&folder)).instance(1);
        launch.set_config(
            lab,
            &json!({ "Network": "10.99.0.0/16", "Backend": host_gw }),
        )?;
        let mut others = Agent::everywhere(lab, &launch)?;
        all_lead_by_objects(lab, &cluster.agents, true)?;
        all_lead_by_objects(lab, &others, true)?;
        let host = &lab.hosts[0];
        let number = |to: &Agent<'_>| -> Result<String> {
            let route = observe::routes(host, &to.subnet(Family::V4)?)?;
            let mut words = route.split(' ').skip_while(|word| *word != "nhid");
            Ok(words.nth(1).context("no object")?.to_owned())
        };
        let (own, other) = (number(&cluster.agents[1])?, number(&others[1])?);
        ensure!(own != other, "both have {own}");
        // Neither removes what the other has.
        let (_, plan) = cluster.agents[0].get("/v1/plan")?;
        ensure!(!plan.contains("nexthop"), "{plan}");
        others[0].terminate()?;
        let output = others[0].command(&["cleanup"])?;
        ensure!(output.status.success(), "{output:?}");
        let objects = host.sh("ip nexthop show")?;
        ensure!(objects.contains(&format!("id {own} ")), "{objects}");
        ensure!(!objects.contains(&format!("id {other} ")), "{objects}");
        cluster.talks(Family::V4)?;
        cluster.agents[0].terminate()?;
        let output = cluster.agents[0].command(&["cleanup"])?;
        ensure!(output.status.success(), "{output:?}");
        let objects = host.sh("ip nexthop show")?;
        ensure!(objects.is_empty(), "left: {objects}");
        Ok(())
    })
}
