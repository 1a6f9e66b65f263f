//! Packets of every size, of both families, at small and large MTUs.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_model::Family;

use super::raw::Unchecked;
use super::udp;

/// A datagram of this size in which a lost or moved part shows.
fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect()
}

fn socket(pod: &Pod<'_>, family: Family) -> Result<UdpSocket> {
    let addr = pod.addr(family)?;
    let socket = pod.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// Sends a datagram of each size, one at a time, and checks what comes.
fn datagrams(from: &Pod<'_>, to: &Pod<'_>, family: Family, sizes: &[usize]) -> Result<()> {
    let (sender, receiver) = (socket(from, family)?, socket(to, family)?);
    let target = receiver.local_addr()?;
    let mut buffer = vec![0; 1 << 16];
    for size in sizes {
        let sent = pattern(*size);
        sender.send_to(&sent, target)?;
        let (len, _) = receiver
            .recv_from(&mut buffer)
            .with_context(|| format!("a datagram of {size} bytes, {family}"))?;
        ensure!(buffer[..len] == sent, "{size} bytes came as {len}, changed");
    }
    Ok(())
}

/// Sends all at once, of sizes that change with each: none may be lost or changed, whatever is joined with whatever.
fn mixed(from: &Pod<'_>, to: &Pod<'_>, family: Family, most: usize) -> Result<()> {
    let (sender, receiver) = (socket(from, family)?, socket(to, family)?);
    let target = receiver.local_addr()?;
    let sizes = [most, most, most, 1, 0, 64, 64, 64, most / 2, most - 1, 3];
    let mut buffer = vec![0; 1 << 16];
    for round in 0..10 {
        for size in sizes {
            sender.send_to(&pattern(size), target)?;
        }
        for size in sizes {
            let len = receiver
                .recv(&mut buffer)
                .with_context(|| format!("round {round}"))?;
            ensure!(
                len == size,
                "{len} bytes came for {size} in round {round}, {family}"
            );
            ensure!(buffer[..len] == pattern(size), "{size} bytes changed");
        }
    }
    Ok(())
}

#[test]
fn pings_datagrams_and_streams_of_every_size_arrive_at_small_and_large_mtus() -> Result<()> {
    for (families, uplink) in [
        (&[Family::V4][..], 1280),
        (&Family::BOTH, 1500),
        (&Family::BOTH, 9000),
    ] {
        Topology::hosts(2).mtu(uplink).play(|lab| {
            let cluster = Cluster::on_etcd(lab, &udp(families))?;
            let mtu = cluster.agents[0].subnet_env()?.mtu as usize;
            for family in families {
                cluster.talks(*family)?;
                let headers = if *family == Family::V4 { 28 } else { 48 };
                let full = mtu - headers;
                let sizes = [
                    0,
                    1,
                    2,
                    63,
                    64,
                    500,
                    full - 1,
                    full,
                    full + 1,
                    2 * full,
                    8000,
                    60_000,
                ];
                for (from, to) in [(0, 1), (1, 0)] {
                    let (from, to) = (&cluster.pods[from], &cluster.pods[to]);
                    datagrams(from, to, *family, &sizes)?;
                    mixed(from, to, *family, full)?;
                    let addr = to.addr(*family)?;
                    for size in [0, 8, 56, full - 1, full, full + 1, 9000] {
                        let line = format!("ping -n -c 1 -W 2 -s {size} -M dont {addr}");
                        from.place()
                            .sh(&line)
                            .with_context(|| format!("MTU {uplink}"))?;
                    }
                    for bytes in [1, full, 100_000, 2 << 20] {
                        traffic::tcp(from.place(), to.place(), addr, bytes)?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn senders_without_checksums_or_offloads_are_carried_alike() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster =
            Cluster::on_etcd_with(lab, &udp(&Family::BOTH), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        let receiver = socket(two, Family::V4)?;
        let (addr, port) = (two.v4()?, receiver.local_addr()?.port());
        let sender = Unchecked::new(one.place())?;
        let mut buffer = [0; 2000];
        // One after the other and many at once: without a checksum they must not be joined into what has one.
        for size in [0, 1, 700, 1444].into_iter().chain([300; 60]) {
            sender.send(7000, SocketAddr::new(addr, port), &pattern(size))?;
        }
        for size in [0, 1, 700, 1444].into_iter().chain([300; 60]) {
            let (len, from) = receiver.recv_from(&mut buffer)?;
            ensure!(buffer[..len] == pattern(size), "{size} bytes came as {len}");
            ensure!(from == SocketAddr::new(one.v4()?, 7000), "from {from}");
        }
        for switch in [
            "tx off",
            "tx on",
            "tso off gso off gro off",
            "tx off sg off",
        ] {
            for pod in &cluster.pods {
                pod.place().sh(&format!("ethtool -K eth0 {switch}"))?;
            }
            for family in Family::BOTH {
                let to: IpAddr = two.addr(family)?;
                traffic::tcp(one.place(), two.place(), to, 2 << 20).context(switch)?;
                datagrams(one, two, family, &[0, 100, 1400, 8000]).context(switch)?;
                mixed(two, one, family, 1400).context(switch)?;
            }
        }
        Ok(())
    })
}
