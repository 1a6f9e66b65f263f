//! A virtual address that moves between hosts (keepalived, kube-vip) is no node's identity.

use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::observe;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use super::{batch, device};

const VIP: &str = "198.18.0.200";

/// Has a host's address come from DHCP: with an end.
fn lease_by_dhcp(host: &Host) -> Result<()> {
    host.sh(&format!(
        "ip addr change {}/24 dev eth0 valid_lft 3600 preferred_lft 3600",
        host.v4()
    ))
    .map(drop)
}

fn announces(agent: &Agent<'_>, host: &Host) -> Result<()> {
    let status = agent.status()?;
    let addr = host.v4().to_string();
    ensure!(status["public"]["v4"] == addr.as_str(), "{status}");
    device(host, &[&format!("local {addr} ")])
}

#[test]
fn a_virtual_address_that_moves_between_hosts_is_nobodys_identity() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        for host in &lab.hosts {
            lease_by_dhcp(host)?;
        }
        // The first has it before its agent starts, and is new.
        let (first, second) = (&lab.hosts[0], &lab.hosts[1]);
        first.sh(&format!("ip addr add {VIP}/32 dev eth0"))?;
        let mut cluster = Cluster::on_etcd_with(lab, &vxlan(), |launch| launch.any_uplink())?;
        let devices = lab.hosts.iter();
        let devices = devices.map(|host| observe::ifindex(host, "flannel.1"));
        let devices = devices.collect::<Result<Vec<_>>>()?;
        for (from, to) in [(first, second), (second, first)] {
            from.sh(&format!("ip addr del {VIP}/32 dev eth0"))?;
            to.sh(&format!("ip addr add {VIP}/32 dev eth0"))?;
            stays("each node's address", Duration::from_secs(1), || {
                for (agent, host) in cluster.agents.iter().zip(&lab.hosts) {
                    announces(agent, host)?;
                }
                Ok(())
            })?;
            cluster.talks(Family::V4)?;
        }
        for (host, before) in lab.hosts.iter().zip(devices) {
            ensure!(
                observe::ifindex(host, "flannel.1")? == before,
                "a new device"
            );
        }
        for agent in &mut cluster.agents {
            agent.ready()?;
        }
        Ok(())
    })
}

#[test]
fn a_node_stays_known_by_its_address_over_a_restart_though_another_comes_first() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd_with(lab, &vxlan(), |launch| launch.any_uplink())?;
        let host = &lab.hosts[0];
        let status = cluster.agents[0].status()?;
        ensure!(status["public"]["v4"] == "198.18.0.1", "{status}");
        cluster.agents[0].kill()?;
        // Two of one kind; the kernel names the new one first.
        batch(
            host.place(),
            "addr del 198.18.0.1/24 dev eth0\naddr add 198.18.0.101/25 dev eth0\n\
             addr add 198.18.0.1/24 dev eth0\nroute replace default via 198.18.0.254 dev eth0 onlink\n",
        )?;
        let launch = cluster.launch.clone();
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        announces(&agent, host)?;
        // It goes, and the node with it; from then on it is known by the other one.
        batch(
            host.place(),
            "addr del 198.18.0.1/24 dev eth0\nroute replace default via 198.18.0.254 dev eth0 onlink\n",
        )?;
        eventually("it has moved", || device(host, &["local 198.18.0.101 "]))?;
        host.sh("ip addr add 198.18.0.1/24 dev eth0")?;
        stays("the address", Duration::from_secs(1), || {
            device(host, &["local 198.18.0.101 "])
        })?;
        cluster.agents[0] = agent;
        cluster.talks(Family::V4)
    })
}
