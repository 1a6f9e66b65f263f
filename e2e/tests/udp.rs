//! Backend `udp`: the agent itself carries the pods' packets, through a TUN device and plain UDP datagrams.
//!
//! ```text
//!  pod ── cni0 ── flannel0 ── tweedd ═══ UDP 8285 over 198.18.0.0/24 ═══ tweedd ── flannel0 ── cni0 ── pod
//!      host1                                                                             host2 (and host3)
//! ```

mod behind_nat;
mod damaged;
mod fallback;
mod format;
mod half;
mod handed_over;
mod hostile;
mod lacking;
mod load;
mod moves;
mod operator;
mod options;
mod raw;
mod sizes;
mod taken;
mod trouble;
mod underlay;
mod v6;

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::datagram::Datagram;
use tweed_lab::fault;
use tweed_lab::launch::config;
use tweed_lab::topology::Topology;
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use self::hostile::came_only_good;
use self::raw::{PORT, dropped, on_uplink};

const DEVICE: &str = "flannel0";

fn udp(families: &[Family]) -> Value {
    config(families, &json!({ "Type": "udp" }))
}

#[test]
fn pods_on_three_hosts_reach_each_other_in_both_families() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&Family::BOTH))?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        let (_, value) = cluster.etcd()?.lease_of(lab.hosts[0].v4())?;
        ensure!(
            value.get("BackendType").is_none(),
            "flannel announces no type: {value}"
        );
        // Nodes talk to pods too, and are answered.
        traffic::ping(lab.hosts[0].place(), cluster.pods[1].v4()?)?;
        traffic::ping(cluster.pods[0].place(), lab.hosts[1].v4()).map(drop)
    })
}

#[test]
fn packets_of_the_full_pod_mtu_pass_and_larger_ones_are_refused_at_the_pod() -> Result<()> {
    for (families, uplink, overhead) in [
        (&[Family::V4][..], 1280, 28),
        (&[Family::V4], 9000, 28),
        (&Family::BOTH, 1500, 48),
    ] {
        Topology::hosts(2).mtu(uplink).play(|lab| {
            let cluster = Cluster::on_etcd(lab, &udp(families))?;
            let mtu = uplink - overhead;
            ensure!(
                cluster.agents[0].subnet_env()?.mtu == mtu,
                "pods get another MTU"
            );
            ensure!(
                fault::mtu(&lab.hosts[0], DEVICE)? == u64::from(mtu),
                "the device has another MTU"
            );
            let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
            for family in families {
                cluster.talks(*family)?;
                traffic::ping_size(from.place(), to.addr(*family)?, mtu)?;
                let larger = traffic::ping_size(from.place(), to.addr(*family)?, mtu + 1);
                ensure!(larger.is_err(), "a packet above the MTU passed");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tcp_carries_megabytes_unchanged_and_shows_the_pods_address() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster =
            Cluster::on_etcd_with(lab, &udp(&Family::BOTH), |launch| launch.arg("--ip-masq"))?;
        let [client, server] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let addr = server.addr(family)?;
            let transfer = traffic::tcp(client.place(), server.place(), addr, 32 << 20)?;
            ensure!(
                transfer.client == client.addr(family)?,
                "the server saw {}",
                transfer.client
            );
        }
        Ok(())
    })
}

#[test]
fn a_device_that_is_deleted_taken_down_or_changed_carries_packets_again_within_a_second()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let (host, from, to) = (&lab.hosts[0], &cluster.pods[0], &cluster.pods[1]);
        for breakage in [
            "ip link del flannel0",
            "ip link set flannel0 down",
            "ip link set flannel0 mtu 1300",
            "ip route del 10.244.0.0/16 dev flannel0",
            "ip addr flush dev flannel0",
        ] {
            let stream = Stream::start(from, to, Family::V4)?;
            host.sh(breakage)?;
            thread::sleep(Duration::from_millis(1200));
            let loss = stream.stop().context(breakage)?;
            ensure!(loss.gap < Duration::from_secs(1), "{breakage}: {loss:?}");
            eventually("a full packet passes", || {
                traffic::ping_size(from.place(), to.v4()?, 1472)
            })
            .context(breakage)?;
            let device = host.sh("ip addr show flannel0")?;
            ensure!(
                device.contains("mtu 1472") && device.contains("/32"),
                "{device}"
            );
        }
        Ok(())
    })
}

#[test]
fn the_device_outlives_the_agent_and_a_restart_loses_only_what_comes_while_nobody_reads()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let index = lab.hosts[0].sh("cat /sys/class/net/flannel0/ifindex")?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        cluster.agents[0].terminate()?;
        ensure!(
            lab.hosts[0].sh("ip -4 route")?.contains(DEVICE),
            "the way is gone"
        );
        cluster.agents[0] = tweed_lab::agent::Agent::start(lab, &lab.hosts[0], &cluster.launch)?;
        cluster.agents[0].ready()?;
        cluster.talks(Family::V4)?;
        let loss = stream.stop()?;
        println!("a restart: {loss:?}");
        ensure!(
            loss.sent > loss.lost && loss.gap < Duration::from_millis(500),
            "{loss:?}"
        );
        let after = lab.hosts[0].sh("cat /sys/class/net/flannel0/ifindex")?;
        ensure!(index == after, "another device");
        Ok(())
    })
}

#[test]
fn a_node_that_leaves_is_sent_nothing_and_may_send_nothing() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let victim = cluster.pods[0]
            .place()
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 9000))?))?;
        let (key, _) = cluster.etcd()?.lease_of(lab.hosts[2].v4())?;
        cluster.agents[2].kill()?;
        // What it would have sent, from its address and port.
        let sender = on_uplink(&lab.hosts[2], PORT)?;
        let gone = cluster.pods[2].v4()?;
        let packet = |payload| -> Result<Vec<u8>> {
            let datagram = Datagram {
                from: gone,
                to: cluster.pods[0].v4()?,
                port: 9000,
                hops: 60,
                payload,
            };
            Ok(datagram.packet())
        };
        let target = (lab.hosts[0].v4(), PORT);
        sender.send_to(&packet(b"good")?, target)?;
        came_only_good(&victim).context("it has its lease still")?;
        let evil = packet(b"evil")?;

        let path = format!("{}/subnets/{key}", tweed_lab::etcd::PREFIX);
        cluster.etcd()?.delete(&path)?;
        eventually("its pods are unreachable at once", || {
            let line = format!("ping -n -c 1 -W 1 {gone} || true");
            let answer = cluster.pods[0].place().cmd(["sh", "-c", &line])?;
            ensure!(answer.contains("Unreachable"), "{answer}");
            Ok(())
        })?;
        let before = dropped(&cluster.agents[0], "unknown_sender")?;
        for _ in 0..10 {
            sender.send_to(&evil, target)?;
        }
        eventually("all are counted", || {
            let now = dropped(&cluster.agents[0], "unknown_sender")?;
            ensure!(now == before + 10, "{now}, before {before}");
            Ok(())
        })?;
        victim.set_nonblocking(true)?;
        let came = victim.recv(&mut [0; 64]);
        ensure!(came.is_err(), "a datagram of the node that left");
        traffic::all_reach_each_other(&cluster.pods[..2], Family::V4)
    })
}

#[test]
fn a_network_moves_from_vxlan_to_udp_and_back() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let vxlan = config(&[Family::V4], &json!({ "Type": "vxlan" }));
        let cluster = Cluster::on_etcd(lab, &vxlan)?;
        cluster.talks(Family::V4)?;
        for (kind, there, gone) in [("udp", DEVICE, "flannel.1"), ("vxlan", "flannel.1", DEVICE)] {
            let wanted = config(&[Family::V4], &json!({ "Type": kind }));
            cluster.launch.set_config(lab, &wanted)?;
            for host in &lab.hosts {
                eventually("the other device", || {
                    let links = host.sh("ip -o link show")?;
                    ensure!(links.contains(&format!(" {there}:")), "{links}");
                    ensure!(!links.contains(&format!(" {gone}:")), "{links}");
                    Ok(())
                })?;
            }
            cluster.talks(Family::V4)?;
        }
        Ok(())
    })
}
