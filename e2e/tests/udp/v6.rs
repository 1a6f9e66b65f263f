//! IPv6 and nothing else: pods, underlay, and what others send.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::datagram::Datagram;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;
use tweed_model::Family;

use super::hostile::{Case, came_only_good, refused};
use super::raw::{PORT, dropped};
use super::udp;

/// Hosts that have no IPv4 address. Their store is a folder: etcd's address in the lab is one of IPv4.
fn play(hosts: usize, scenario: impl FnOnce(&Lab, &mut Cluster<'_>) -> Result<()>) -> Result<()> {
    Topology::hosts(hosts).play(|lab| {
        for host in &lab.hosts {
            host.sh("ip -4 addr flush dev eth0")?;
        }
        let mut cluster = Cluster::on_files(lab, &udp(&[Family::V6]))?;
        cluster.talks(Family::V6)?;
        scenario(lab, &mut cluster)
    })
}

#[test]
fn a_network_of_ipv6_alone_carries_pings_streams_and_full_packets() -> Result<()> {
    play(2, |lab, cluster| {
        for agent in &mut cluster.agents {
            ensure!(agent.subnet_env()?.mtu == 1500 - 48, "pods get another MTU");
            let v4 = agent.host().sh("ip -4 addr show dev flannel0")?;
            ensure!(v4.is_empty(), "{v4}");
            agent.ready()?;
        }
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for (from, to) in [(one, two), (two, one)] {
            let addr = to.addr(Family::V6)?;
            traffic::ping_size(from.place(), addr, 1452)?;
            let larger = traffic::ping_size(from.place(), addr, 1453);
            ensure!(larger.is_err(), "a packet above the MTU passed");
            // In fragments of the sender's.
            let large = format!("ping -n -c 1 -W 2 -M dont -s 20000 {addr}");
            from.place().sh(&large)?;
            traffic::tcp(from.place(), to.place(), addr, 16 << 20)?;
        }
        let status = cluster.agents[0].status()?;
        let peer = &status["data_plane"]["peers"][0]["endpoint"];
        ensure!(
            *peer == format!("[{}]:{PORT}", lab.hosts[1].v6()),
            "{status}"
        );
        ensure!(
            dropped(&cluster.agents[0], "spoofed_source")? == 0,
            "{status}"
        );
        Ok(())
    })
}

fn packet(from: Ipv6Addr, to: Ipv6Addr, hops: u8, payload: &[u8]) -> Vec<u8> {
    let datagram = Datagram {
        from: from.into(),
        to: to.into(),
        port: 9000,
        hops,
        payload,
    };
    datagram.packet()
}

fn v6(addr: IpAddr) -> Result<Ipv6Addr> {
    match addr {
        IpAddr::V6(addr) => Ok(addr),
        IpAddr::V4(addr) => anyhow::bail!("{addr} is not of IPv6"),
    }
}

/// Datagrams that no pod may see, from the node with the subnet of `from`.
fn hostile(from: Ipv6Addr, to: Ipv6Addr, third: Ipv6Addr) -> Vec<Case> {
    let case = |name, reason, bytes| Case {
        name,
        bytes,
        reason,
    };
    let by = |name, reason, from: Ipv6Addr| case(name, reason, packet(from, to, 60, b"evil"));
    let towards = |name, reason, to: Ipv6Addr| case(name, reason, packet(from, to, 60, b"evil"));
    let good = packet(from, to, 60, b"evil");
    let [a, b, c, d, ..] = to.segments();
    let v4 = Datagram {
        from: [10, 244, 2, 2].into(),
        to: [10, 244, 1, 2].into(),
        port: 9000,
        hops: 60,
        payload: b"evil",
    };
    vec![
        by("a source of a third node", "spoofed_source", third),
        by(
            "a source of the receiver's",
            "spoofed_source",
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 99),
        ),
        by(
            "a source outside of the network",
            "spoofed_source",
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        ),
        by("a loopback source", "spoofed_source", Ipv6Addr::LOCALHOST),
        case("a packet of IPv4", "spoofed_source", v4.packet()),
        towards("a packet for a third node", "looped", third),
        towards(
            "a packet for the Internet",
            "not_for_us",
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        ),
        towards(
            "all nodes",
            "multicast",
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        ),
        towards(
            "a loopback address",
            "martian_destination",
            Ipv6Addr::LOCALHOST,
        ),
        case("no hops left", "hop_limit", packet(from, to, 0, b"evil")),
        case(
            "a packet without its end",
            "length",
            good[..good.len() - 1].to_vec(),
        ),
        case("a header cut off", "header_cut_off", good[..39].to_vec()),
    ]
}

fn at(host: &Host, port: u16) -> Result<UdpSocket> {
    let addr = (host.v6(), port);
    host.place().run(|| Ok(UdpSocket::bind(addr)?))
}

#[test]
fn nothing_hostile_over_ipv6_reaches_a_pod_and_each_is_counted_for_what_it_is() -> Result<()> {
    play(3, |lab, cluster| {
        let addrs = cluster.pods.iter().map(|pod| v6(pod.addr(Family::V6)?));
        let addrs = addrs.collect::<Result<Vec<_>>>()?;
        let [pod, peer, third] = addrs[..] else {
            anyhow::bail!("three pods");
        };
        let victim = cluster.pods[0]
            .place()
            .run(|| Ok(UdpSocket::bind(("::", 9000))?))?;
        let (target, sender) = (lab.hosts[0].v6(), at(&lab.hosts[1], 0)?);
        refused(cluster, &sender, target, &hostile(peer, pod, third))?;
        // What would be right from a peer, by somebody who is none.
        let stranger = lab
            .switch
            .place()
            .run(|| Ok(UdpSocket::bind(("fd12:c612::fe", PORT))?))
            .context("the switch's address")?;
        let case = Case {
            name: "a stranger's",
            bytes: packet(peer, pod, 60, b"evil"),
            reason: "unknown_sender",
        };
        refused(cluster, &stranger, target, &[case])?;
        sender.send_to(&packet(peer, pod, 60, b"good"), (target, PORT))?;
        came_only_good(&victim)?;
        cluster.talks(Family::V6)
    })
}
