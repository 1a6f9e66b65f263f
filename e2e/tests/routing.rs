//! Hosts that are neighbours need no tunnel.
//!
//! ```text
//!   host1   host2            host3
//!     └─ seg0 ─┘── router ── seg1
//! ```

use anyhow::{Result, ensure};
use ipnet::IpNet;
use serde_json::json;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::config;
use tweed_lab::observe;
use tweed_lab::topology::{Host, Topology};
use tweed_model::Family;

#[test]
fn direct_routing_uses_plain_routes_to_neighbours_and_the_tunnel_behind_a_router() -> Result<()> {
    Topology::on_segments(&[0, 0, 1]).play(|lab| {
        let backend = json!({ "Type": "vxlan", "DirectRouting": true });
        let cluster = Cluster::on_etcd(lab, &config(&Family::BOTH, &backend))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
            let near = cluster.agents[1].subnet(family)?;
            let far = cluster.agents[2].subnet(family)?;
            let via = lab.hosts[1].addrs;
            let via = via.get(family).expect("both families");
            has(&lab.hosts[0], &near, &format!("via {via} dev eth0"))?;
            let tunnel = match family {
                Family::V4 => "dev flannel.1",
                Family::V6 => "dev flannel-v6.1",
            };
            has(&lab.hosts[0], &far, tunnel)?;
            let macs = lab.hosts[0].sh("bridge fdb show")?;
            let neighbour = cluster.peer(1, family)?.mac;
            ensure!(!macs.contains(&neighbour), "FDB has a neighbour: {macs}");
        }
        Ok(())
    })
}

#[test]
fn alloc_leases_a_subnet_and_programs_nothing() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = tweed_lab::etcd::Etcd::start(lab)?;
        etcd.put_config(&config(&[Family::V4], &json!({ "Type": "alloc" })))?;
        let launch = tweed_lab::launch::Launch::etcd();
        let mut agents = Vec::new();
        for host in &lab.hosts {
            let mut agent = tweed_lab::agent::Agent::start(lab, host, &launch)?;
            agent.ready()?;
            agents.push(agent);
        }
        let (key, value) = etcd.lease_of(lab.hosts[0].v4())?;
        let subnet = agents[0].subnet(Family::V4)?;
        ensure!(key == subnet.to_string().replace('/', "-"), "{key}");
        ensure!(value.get("BackendType").is_none(), "{value}");
        let routes = tweed_lab::agent::peer_routes(&lab.hosts[0], Family::V4)?;
        ensure!(routes.is_empty(), "{routes:?}");
        Ok(())
    })
}

fn has(host: &Host, subnet: &IpNet, words: &str) -> Result<()> {
    let route = observe::routes(host, subnet)?;
    ensure!(
        route.lines().count() == 1 && route.contains(words),
        "route to {subnet} on {}: {route:?}, not {words:?}",
        host.name()
    );
    Ok(())
}
