//! The uplink moves or changes under running traffic.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::fault;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::{self, Loss, Stream};
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

use super::{DEVICE, udp};
use crate::uplink::{batch, replug, unplug};

/// Packets flow again within this time after the uplink can carry them again.
const BACK: Duration = Duration::from_secs(1);

/// How often a node may move there and back until it does both within that time: an agent that isn't optimised shares
/// the processors with other tests.
const TRIES: usize = 3;

/// A node with another address and without MACs, as with `udp`, has to ask whether its lease is its own
/// (`overlay/store/src/claim.rs`). In etcd the lease's number shows it. One that saw the change by halves asks twice.
const ASKED: Duration = Duration::from_secs(2 * 2);

/// What is lost between the pods of hosts 1 and 2 by `change`, and what of the gap is not the time that it took itself.
fn interrupted(
    cluster: &Cluster<'_>,
    what: &str,
    change: impl FnOnce() -> Result<()>,
) -> Result<(Loss, Duration)> {
    let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
    let stream = Stream::start(from, to, Family::V4)?;
    let start = Instant::now();
    change().context("change the uplink")?;
    let changing = start.elapsed();
    eventually("packets flow again", || {
        traffic::ping(from.place(), to.v4()?)
    })?;
    // The stream sees the end of its gap with its next probe.
    thread::sleep(Duration::from_millis(100));
    let loss = stream.stop()?;
    let gap = loss.gap.saturating_sub(changing);
    println!("{what}: back {gap:?} after a change of {changing:?}; {loss:?}");
    Ok((loss, gap))
}

/// Gives host 1 another address instead of the one that it has.
pub(super) fn readdress(host: &Host, old: Ipv4Addr, new: Ipv4Addr) -> Result<()> {
    batch(
        host.place(),
        &format!(
            "addr del {old}/24 dev eth0\naddr add {new}/24 dev eth0\nroute replace default via 198.18.0.254\n"
        ),
    )
}

/// Moves host 1 to another address and back. Gives what took longer than it may.
fn there_and_back(
    cluster: &mut Cluster<'_>,
    host: &Host,
    store: &str,
    bound: Duration,
) -> Result<Vec<String>> {
    let (old, new) = ([198, 18, 0, 1].into(), [198, 18, 0, 101].into());
    let mut slow = vec![];
    for (old, new) in [(old, new), (new, old)] {
        let what = format!("{store}, from {old} to {new}");
        let (_, gap) = interrupted(cluster, &what, || readdress(host, old, new))?;
        if gap >= bound {
            slow.push(format!("{what}: back after {gap:?}"));
        }
        let status = cluster.agents[1].status()?;
        let peer = &status["data_plane"]["peers"][0]["endpoint"];
        ensure!(*peer == format!("{new}:8285"), "{status}");
        cluster.agents[0].ready()?;
    }
    Ok(slow)
}

#[test]
fn a_new_address_of_the_uplink_is_sent_from_and_to() -> Result<()> {
    for (store, bound) in [("etcd", BACK), ("file", ASKED + BACK)] {
        Topology::hosts(2).play(|lab| {
            let config = udp(&[Family::V4]);
            let mut cluster = match store {
                "etcd" => Cluster::on_etcd(lab, &config)?,
                _ => Cluster::on_files(lab, &config)?,
            };
            cluster.talks(Family::V4)?;
            let mut slow = vec![];
            for _ in 0..TRIES {
                slow = there_and_back(&mut cluster, &lab.hosts[0], store, bound)?;
                if slow.is_empty() {
                    return Ok(());
                }
            }
            bail!("{slow:?}")
        })?;
    }
    Ok(())
}

#[test]
fn an_uplink_that_is_made_again_carries_packets_again_within_a_second() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let host = &lab.hosts[0];
        for long in [Duration::ZERO, Duration::from_secs(1)] {
            let what = format!("made again after {long:?}");
            let (_, gap) = interrupted(&cluster, &what, || {
                let mac = unplug(host)?;
                thread::sleep(long);
                replug(lab, host, &mac)?;
                // A new port of the switch may lose the first ARP request, whose next is due after a second.
                eventually("the hosts reach each other", || {
                    traffic::ping(host.place(), lab.hosts[1].v4()).map(drop)
                })
            })?;
            ensure!(gap < BACK, "{what}: back after {gap:?}");
            cluster.agents[0].ready()?;
        }
        let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
        traffic::tcp(from.place(), to.place(), to.v4()?, 4 << 20).map(drop)
    })
}

#[test]
fn the_uplinks_mtu_is_followed_by_the_device_subnet_env_and_what_pods_are_told() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let host = &lab.hosts[0];
        for uplink in [1400, 1300, 1500] {
            let pods = uplink - 28;
            let what = format!("MTU {uplink}");
            let change = || host.sh(&format!("ip link set eth0 mtu {uplink}")).map(drop);
            let (_, gap) = interrupted(&cluster, &what, change)?;
            ensure!(gap < BACK, "{what}: {gap:?}");
            timed("device and subnet.env follow", BACK, || {
                let found = (
                    fault::mtu(host, DEVICE)?,
                    cluster.agents[0].subnet_env()?.mtu,
                );
                ensure!(found == (u64::from(pods), pods), "{found:?}");
                Ok(())
            })?;
            let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
            let status = cluster.agents[0].status()?;
            ensure!(status["data_plane"]["peers"][0]["mtu"] == pods, "{status}");
            let larger = format!("ping -n -c 1 -W 1 -M do -s 1444 {} || true", to.v4()?);
            eventually("pods are told", || {
                from.place().sh("ip route flush cache")?;
                let said = from.place().cmd(["sh", "-c", &larger])?;
                let told = match pods {
                    1472 => said.contains(" 0% packet loss"),
                    _ => said.contains(&format!("mtu = {pods}")),
                };
                ensure!(told, "{said}");
                Ok(())
            })
            .context(what)?;
            traffic::ping_size(from.place(), to.v4()?, pods)?;
            traffic::tcp(from.place(), to.place(), to.v4()?, 4 << 20)?;
            cluster.agents[0].ready()?;
        }
        Ok(())
    })
}
