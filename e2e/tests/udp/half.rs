//! A host that has an address for half of what it should carry: its uplink's only one of IPv6 is link-local.

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::Launch;
use tweed_lab::topology::Topology;
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::trouble::words;
use super::udp;

/// What the status says.
const LACKS: &str = "the uplink has no address for IPv6 but link-local ones; give it one";

/// The agent carries IPv4, is not ready, and says why.
fn lacks_ipv6(agent: &Agent<'_>) -> Result<()> {
    eventually("the agent says what it lacks", || {
        let status = agent.status()?;
        ensure!(status["ready"] == false, "{status}");
        ensure!(status["not_ready"].to_string().contains(LACKS), "{status}");
        ensure!(status["data_plane"]["workers"] == 1, "{status}");
        let (code, body) = agent.get("/readyz")?;
        ensure!(code == 503 && body.contains(LACKS), "{code}: {body}");
        let text = words(agent)?;
        ensure!(text.contains(LACKS), "{text}");
        Ok(())
    })
}

/// Pods of both hosts reach each other by IPv4, and none by IPv6, of which they are told.
fn only_ipv4(pods: &[Pod<'_>]) -> Result<()> {
    traffic::all_reach_each_other(pods, Family::V4)?;
    let [one, two] = pods else {
        anyhow::bail!("two pods");
    };
    traffic::tcp(one.place(), two.place(), two.v4()?, 4 << 20)?;
    for (from, to) in [(one, two), (two, one)] {
        let line = format!("ping -n -c 1 -W 1 {} || true", to.addr(Family::V6)?);
        let said = from.place().cmd(["sh", "-c", &line])?;
        ensure!(said.contains("No route"), "{said}");
    }
    Ok(())
}

#[test]
fn a_host_with_a_link_local_ipv6_address_alone_carries_ipv4_and_says_so_until_it_gets_another()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        host.sh("ip -6 addr flush dev eth0 scope global")?;
        let left = host.sh("ip -6 addr show dev eth0")?;
        ensure!(left.contains("inet6 fe80:"), "no address is left: {left}");
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&udp(&Family::BOTH))?;
        let agents = lab.hosts.iter();
        let agents = agents.map(|host| Agent::start(lab, host, &Launch::etcd()));
        let mut agents = agents.collect::<Result<Vec<_>>>()?;
        agents[1].ready()?;
        lacks_ipv6(&agents[0])?;
        let pods = Runtime::tweed().pods(&lab.hosts)?;
        only_ipv4(&pods)?;

        let stream = Stream::start(&pods[0], &pods[1], Family::V4)?;
        host.sh(&format!("ip addr add {}/64 dev eth0 nodad", host.v6()))?;
        agents[0].ready()?;
        for family in Family::BOTH {
            traffic::all_reach_each_other(&pods, family)?;
            let addr = pods[1].addr(family)?;
            traffic::tcp(pods[0].place(), pods[1].place(), addr, 4 << 20)?;
        }
        let loss = stream.stop()?;
        println!("IPv4 while IPv6 came: {loss:?}");
        let text = words(&agents[0])?;
        ensure!(!text.contains(LACKS), "{text}");

        host.sh(&format!("ip addr del {}/64 dev eth0", host.v6()))?;
        lacks_ipv6(&agents[0])?;
        only_ipv4(&pods)
    })
}
