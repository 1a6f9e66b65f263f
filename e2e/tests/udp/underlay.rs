//! Underlays that are not what the agents were told: narrower on the way, or without offloads.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::PREFIX;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::{raw, udp};

#[test]
fn a_path_that_is_narrower_than_the_uplinks_is_found_out_and_told_to_the_pods() -> Result<()> {
    Topology::on_segments(&[0, 1]).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&Family::BOTH))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        // The router's legs; the hosts' uplinks still say 1500.
        for leg in ["seg0", "seg1"] {
            lab.switch
                .place()
                .sh(&format!("ip link set {leg} mtu 1300"))?;
        }
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for (from, to) in [(one, two), (two, one)] {
            let line = format!(
                "ping -n -c 1 -W 1 -M do -s {} {} || true",
                1452 - 28,
                to.v4()?
            );
            eventually("a ping that is too big is told the path's MTU", || {
                from.place().sh("ip route flush cache")?;
                let said = from.place().cmd(["sh", "-c", &line])?;
                ensure!(said.contains("mtu = 1272"), "{said}");
                Ok(())
            })?;
            for size in [100, 1272, 4000, 20_000] {
                let line = format!("ping -n -c 1 -W 2 -M dont -s {size} {}", to.v4()?);
                eventually("what may be fragmented arrives", || from.place().sh(&line))?;
            }
            let transfer = traffic::tcp(from.place(), to.place(), to.v4()?, 8 << 20)?;
            ensure!(transfer.taken < Duration::from_secs(5), "{transfer:?}");
            let transfer = traffic::tcp(from.place(), to.place(), to.addr(Family::V6)?, 8 << 20)?;
            ensure!(transfer.taken < Duration::from_secs(5), "{transfer:?}");
        }
        for agent in &cluster.agents {
            let status = agent.status()?;
            let peers = status["data_plane"]["peers"].as_array();
            let mtus: BTreeSet<u64> = peers
                .into_iter()
                .flatten()
                .filter_map(|peer| peer["mtu"].as_u64())
                .collect();
            ensure!(mtus == BTreeSet::from([1300 - 48, 1300 - 28]), "{status}");
        }
        Ok(())
    })
}

/// The MTU of the path to the peer, as the node has it.
fn peer_mtu(agent: &Agent<'_>) -> Result<Option<u64>> {
    let status = agent.status()?;
    Ok(status["data_plane"]["peers"][0]["mtu"].as_u64())
}

/// Has a stranger tell the first host that the path to the second is narrow, until its kernel applies it.
fn mislead(lab: &Lab) -> Result<()> {
    let (from, to) = (&lab.hosts[0], &lab.hosts[1]);
    eventually("the kernel applies the error", || {
        raw::forge_too_big(lab.switch.place(), from, to, 552)?;
        let route = from.sh(&format!("ip route get {}", to.v4()))?;
        ensure!(route.contains("mtu 552"), "{route}");
        Ok(())
    })
}

#[test]
fn a_forged_icmp_error_changes_nothing_where_the_peer_answers_full_packets() -> Result<()> {
    Topology::on_segments(&[0, 1]).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let (one, two) = (&cluster.pods[0], &cluster.pods[1]);
        mislead(lab)?;
        let status = cluster.agents[0].status()?;
        let errors = status["data_plane"]["errors"]["underlay"].as_u64();
        ensure!(errors > Some(0), "{status}");
        let fragments = || lab.hosts[0].sh("nstat -asz IpFragCreates");
        eventually("full packets go in one piece", || {
            let before = fragments()?;
            traffic::ping_size(one.place(), two.v4()?, 1472)?;
            ensure!(fragments()? == before, "the kernel fragments");
            Ok(())
        })?;
        let singly = || -> Result<Option<u64>> {
            let status = cluster.agents[0].status()?;
            Ok(status["data_plane"]["singly"]["sent"].as_u64())
        };
        let (before, pieces) = (singly()?, fragments()?);
        let transfer = traffic::tcp(one.place(), two.place(), two.v4()?, 8 << 20)?;
        ensure!(transfer.taken < Duration::from_secs(5), "{transfer:?}");
        ensure!(
            singly()? == before && fragments()? == pieces,
            "it costs speed"
        );
        let mtu = peer_mtu(&cluster.agents[0])?;
        ensure!(mtu == Some(1500 - 28), "{mtu:?}");
        // A path that becomes narrow after that is found out all the same.
        for leg in ["seg0", "seg1"] {
            let line = format!("ip link set {leg} mtu 1300");
            lab.switch.place().sh(&line)?;
        }
        eventually("the narrower path is learned", || {
            let line = format!("ping -n -c 1 -W 1 -M do -s 1444 {}", two.v4()?);
            let _ = one.place().sh(&line); // It is too large now.
            let mtu = peer_mtu(&cluster.agents[0])?;
            ensure!(mtu == Some(1300 - 28), "{mtu:?}");
            Ok(())
        })?;
        let transfer = traffic::tcp(one.place(), two.place(), two.v4()?, 8 << 20)?;
        ensure!(transfer.taken < Duration::from_secs(5), "{transfer:?}");
        Ok(())
    })
}

#[test]
fn older_leases_with_a_peers_address_do_not_make_a_forged_icmp_error_count() -> Result<()> {
    Topology::on_segments(&[0, 1]).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let peer = lab.hosts[1].v4();
        let (key, _) = cluster.etcd()?.lease_of(peer)?;
        // More than one question goes by, and all older than the peer's own, which it takes again.
        for number in 201..212 {
            let lease = serde_json::json!({ "PublicIP": peer, "PublicIPv6": null });
            let older = format!("{PREFIX}/subnets/10.244.{number}.0-24");
            cluster.etcd()?.put(&older, &lease.to_string())?;
        }
        cluster.etcd()?.delete(&format!("{PREFIX}/subnets/{key}"))?;
        let (one, two) = (&cluster.pods[0], &cluster.pods[1]);
        eventually("the peer is the youngest of them", || {
            let status = cluster.agents[0].status()?;
            let peers = status["data_plane"]["peers"].as_array().map(Vec::len);
            ensure!(peers == Some(12), "{status}");
            cluster.talks(Family::V4)
        })?;
        mislead(lab)?;
        eventually("full packets go in one piece", || {
            let fragments = || lab.hosts[0].sh("nstat -asz IpFragCreates");
            let before = fragments()?;
            traffic::ping_size(one.place(), two.v4()?, 1472)?;
            ensure!(fragments()? == before, "the kernel fragments");
            Ok(())
        })?;
        let status = cluster.agents[0].status()?;
        let peers = status["data_plane"]["peers"].as_array();
        let mut peers = peers.context("peers")?.iter();
        ensure!(peers.all(|peer| peer["mtu"] == 1500 - 28), "{status}");
        Ok(())
    })
}

#[test]
fn a_forged_icmp_error_costs_a_path_little_where_the_peer_answers_no_echo() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        lab.hosts[1].sh("sysctl -w net.ipv4.icmp_echo_ignore_all=1")?;
        let (one, two) = (&cluster.pods[0], &cluster.pods[1]);
        mislead(lab)?;
        let agent = &cluster.agents[0];
        eventually("the error counts", || {
            let mtu = peer_mtu(agent)?;
            ensure!(mtu == Some(1280 - 28), "{mtu:?}");
            Ok(())
        })?;
        let transfer = traffic::tcp(one.place(), two.place(), two.v4()?, 8 << 20)?;
        ensure!(transfer.taken < Duration::from_secs(5), "{transfer:?}");
        traffic::ping_size(one.place(), two.v4()?, 1280 - 28)?;
        let mtu = peer_mtu(agent)?;
        ensure!(mtu == Some(1280 - 28), "{mtu:?}");
        let send = agent.metric(r#"tweed_data_plane_offload{offload="send"}"#)?;
        ensure!(send == 1.0, "the offload was given up for all peers");
        Ok(())
    })
}

#[test]
fn an_underlay_without_offloads_carries_all_the_same() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&Family::BOTH))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for switch in ["gro off", "tso off gso off", "tx off rx off sg off"] {
            for host in &lab.hosts {
                host.sh(&format!("ethtool -K eth0 {switch}"))?;
            }
            for family in Family::BOTH {
                for (from, to) in [(one, two), (two, one)] {
                    let addr = to.addr(family)?;
                    traffic::tcp(from.place(), to.place(), addr, 4 << 20).context(switch)?;
                    traffic::ping_size(from.place(), addr, 1452).context(switch)?;
                }
            }
        }
        // A kernel before 6.11 takes no message of several datagrams for an uplink that computes no checksums: then they
        // go one by one, which is counted. Later ones do it themselves.
        for agent in &cluster.agents {
            let status = agent.status()?;
            let plane = &status["data_plane"];
            let singly = plane["singly"]["sent"].as_u64();
            ensure!(
                (plane["offloads"]["send"] == false) == (singly > Some(0)),
                "{status}"
            );
            ensure!(plane["errors"]["send"] == 0, "{status}");
        }
        Ok(())
    })
}
