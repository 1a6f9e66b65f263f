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

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::datagram::Datagram;
use tweed_lab::launch::config;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use self::hostile::came_only_good;
use self::raw::{PORT, dropped, on_uplink};

const DEVICE: &str = "flannel0";

fn udp(families: &[Family]) -> Value {
    config(families, &json!({ "Type": "udp" }))
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
