//! Kernels and network cards that damage datagrams which are sent several at once, and tell nobody: what arrives has a
//! wrong length, or other bytes, or is lost.
//!
//! Here a rule of the packet filter does it. The kernel gives "don't fragment" to single datagrams, and not to several that
//! are longer than the uplink's MTU together: by that the rule tells them apart.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

use super::fallback::five_at_once;
use super::trouble::words;
use super::udp;

const SINGLY: &str = "tweed_data_plane_peers_sent_singly";
/// What the log says of a peer.
const LOGGED: &str = "datagrams that are sent several at once don't reach this peer";

/// Has something done to datagrams that come from a host several at once.
fn damage(on: &Host, from: &Host, what: &str) -> Result<()> {
    let which = format!(
        "ip saddr {} udp dport 8285 ip frag-off & 0x4000 == 0",
        from.v4()
    );
    rule(on, "prerouting", &format!("{which} {what}"))
}

fn rule(on: &Host, hook: &str, rule: &str) -> Result<()> {
    let chain = format!("chain damage {{ type filter hook {hook} priority -400\n {rule}\n }}");
    let table = format!("table ip damage {{\n {chain}\n }}");
    on.place().cmd(["nft", &table]).map(drop)
}

/// The packets that an agent has sent, and the system calls that it took.
fn sent(agent: &Agent<'_>) -> Result<(u64, u64)> {
    let status = agent.status()?;
    let count = |what| status["data_plane"]["sent"][what].as_u64();
    let counts = count("packets").zip(count("calls"));
    counts.context("what was sent")
}

/// Carries megabytes, and says how many packets it took to send them, and how many system calls.
fn carried(agent: &Agent<'_>, from: &Pod<'_>, to: &Pod<'_>) -> Result<(u64, u64)> {
    let before = sent(agent)?;
    traffic::tcp(from.place(), to.place(), to.v4()?, 4 << 20)?;
    let after = sent(agent)?;
    Ok((after.0 - before.0, after.1 - before.1))
}

fn says(agent: &Agent<'_>, part: &str) -> Result<()> {
    let text = words(agent)?;
    ensure!(text.contains(part), "no {part:?} in:\n{text}");
    Ok(())
}

#[test]
fn a_peer_that_only_single_datagrams_reach_gets_single_ones_until_others_reach_it_again()
-> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let ([one, two, three], [sender, receiver, _]) = (&cluster.pods[..], &cluster.agents[..])
        else {
            bail!("three pods");
        };
        // A wrong length in UDP's header, as Linux 7.0 writes it for some network cards.
        damage(&lab.hosts[1], &lab.hosts[0], "udp length set 65535")?;
        let started = Instant::now();
        traffic::tcp(one.place(), two.place(), two.v4()?, 4 << 20)?;
        println!("the first megabytes took {:?}", started.elapsed());
        ensure!(sender.metric(SINGLY)? >= 1.0, "nothing was noticed");
        let (packets, calls) = carried(sender, one, two)?;
        // Datagrams of another trial don't count.
        ensure!(packets < calls + 100, "{packets} packets in {calls} calls");
        five_at_once(one, two, Family::V4)?;

        // The same card sends to others: until they are tried, they get single ones.
        eventually("the third host gets several at once", || {
            let (packets, calls) = carried(sender, one, three)?;
            ensure!(2 * calls < packets, "{packets} packets in {calls} calls");
            ensure!(sender.metric(SINGLY)? == 1.0, "one is sent single ones");
            Ok(())
        })?;
        let (packets, calls) = carried(receiver, two, one)?;
        ensure!(2 * calls < packets, "the other way nothing is damaged");

        let peer = format!("{}:8285", lab.hosts[1].v4());
        let (why, hint) = ("single datagrams reach it", "UDP datagrams came damaged");
        says(sender, &format!("{peer} gets single datagrams: {why}"))?;
        says(receiver, hint)?;
        let status = sender.status()?;
        let peers = status["data_plane"]["peers"].as_array().context("peers")?;
        for of in peers {
            let told = of["singly"].as_str().is_some_and(|said| said.contains(why));
            ensure!(told == (of["endpoint"] == peer.as_str()), "{status}");
        }
        let damaged = receiver.metric("tweed_data_plane_damaged_total")?;
        ensure!(damaged >= 4.0, "{damaged} damaged");
        let log = sender.log()?;
        ensure!(log.matches(LOGGED).count() == 1, "once in:\n{log}");
        for (agent, count) in [(sender, 1.0), (receiver, 0.0)] {
            ensure!(agent.metric(SINGLY)? == count, "{}", agent.status()?);
        }

        lab.hosts[1].sh("nft delete table ip damage")?;
        let limit = Duration::from_secs(60);
        let healed = timed("several at once reach it again", limit, || {
            let (packets, calls) = carried(sender, one, two)?;
            ensure!(2 * calls < packets, "{packets} packets in {calls} calls");
            ensure!(sender.metric(SINGLY)? == 0.0, "{}", sender.status()?);
            Ok(())
        });
        healed.map(drop)
    })
}

#[test]
fn a_host_that_is_told_no_answers_sends_several_at_once_as_before() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        lab.hosts[1].sh("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")?;
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        let ([one, two], [sender, _]) = (&cluster.pods[..], &cluster.agents[..]) else {
            bail!("two pods");
        };
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let (packets, calls) = carried(sender, one, two)?;
            ensure!(2 * calls < packets, "{packets} packets in {calls} calls");
        }
        ensure!(sender.metric(SINGLY)? == 0.0, "{}", sender.status()?);
        Ok(())
    })
}

#[test]
fn joined_datagrams_that_come_damaged_are_taken_one_by_one() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let ([one, two], [_, receiver]) = (&cluster.pods[..], &cluster.agents[..]) else {
            bail!("two pods");
        };
        let metric = r#"tweed_data_plane_offload{offload="receive"}"#;
        ensure!(receiver.metric(metric)? == 1.0, "they are joined at first");
        // The first bytes of the packet within.
        damage(&lab.hosts[1], &lab.hosts[0], "@th,64,16 set 0")?;
        let pod = one.place().run(|| Ok(UdpSocket::bind((one.v4()?, 0))?))?;
        setsockopt(&pod, sockopt::UdpGsoSegment, &1000)?;
        eventually("they are not joined any more", || {
            for _ in 0..20 {
                pod.send_to(&[7; 5000], (two.v4()?, 9))?;
            }
            ensure!(receiver.metric(metric)? == 0.0, "{}", receiver.status()?);
            Ok(())
        })?;
        let status = receiver.status()?;
        let reason = &status["data_plane"]["reasons"]["receive"];
        let reason = reason.as_str().context("a reason")?;
        ensure!(reason.contains("came damaged"), "{status}");
        says(receiver, &format!("receive: {reason}"))?;
        five_at_once(two, one, Family::V4)?;
        // The sender notices too.
        eventually("all come whole", || five_at_once(one, two, Family::V4))?;
        traffic::tcp(one.place(), two.place(), two.v4()?, 4 << 20).map(drop)
    })
}

#[test]
fn a_kernel_that_damages_several_at_once_on_the_loopback_is_not_given_them() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let several = "oifname lo udp length > 1480 @th,128,16 set 0";
        rule(&lab.hosts[0], "output", several)?;
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        let ([one, two], agents) = (&cluster.pods[..], &cluster.agents) else {
            bail!("two pods");
        };
        let (packets, calls) = carried(&agents[0], one, two)?;
        ensure!(packets == calls, "{packets} packets in {calls} calls");
        let (packets, calls) = carried(&agents[1], two, one)?;
        ensure!(2 * calls < packets, "{packets} packets in {calls} calls");
        let why = "on the loopback, datagram 1 of 40 that were sent at once came with other bytes";
        for (agent, works) in [(&agents[0], false), (&agents[1], true)] {
            let status = agent.status()?;
            let plane = &status["data_plane"];
            ensure!(plane["offloads"]["send"] == works, "{status}");
            ensure!((plane["reasons"]["send"] == why) != works, "{status}");
            let metric = r#"tweed_data_plane_offload{offload="send"}"#;
            ensure!(
                agent.metric(metric)? == f64::from(u8::from(works)),
                "{status}"
            );
            let log = agent.log()?;
            let told = log.matches("the data plane's self-test failed").count();
            ensure!(told == usize::from(!works), "{log}");
        }
        says(&agents[0], &format!("send: {why}"))
    })
}
