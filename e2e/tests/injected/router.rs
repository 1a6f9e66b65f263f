//! A node sends router advertisements through the tunnel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::config;
use tweed_lab::observe;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use super::packet::{advertisement, vxlan};
use super::send;

/// host2 sends an advertisement to the device of host1.
fn advertise(lab: &Lab) -> Result<()> {
    let packet = advertisement("fe80::66".parse()?);
    let bytes = vxlan(&observe::mac(&lab.hosts[0], "flannel.1")?, 1, &packet)?;
    let to = lab.hosts[0].addrs.v4.context("IPv4")?;
    send(lab.hosts[1].place(), None, (to, 8472).into(), &bytes)
}

/// How many advertisements have come by the device.
fn advertisements(host: &Host) -> Result<u64> {
    let counts = host.sh("cat /proc/net/dev_snmp6/flannel.1")?;
    let mut lines = counts.lines().map(str::split_whitespace);
    let line = lines.find_map(|mut words| {
        (words.next() == Some("Icmp6InRouterAdvertisements")).then(|| words.next())?
    });
    Ok(line.context("no such count")?.parse()?)
}

/// With nothing masqueraded a node may send for others, and what it sends is not looked at. The network has no IPv6, so
/// the host forwards none, and would accept a router.
#[test]
fn a_router_that_a_peer_makes_up_is_not_accepted() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        // As the kernel has it; the lab's hosts take none.
        host.sh("sysctl -q -w net.ipv6.conf.default.accept_ra=1")?;
        let config = config(&[Family::V4], &json!({ "Type": "vxlan" }));
        let cluster = Cluster::on_etcd(lab, &config)?;
        let switch = host.sh("cat /proc/sys/net/ipv6/conf/flannel.1/accept_ra")?;
        ensure!(switch.trim() == "0", "accept_ra is {switch}");
        let before = advertisements(host)?;
        advertise(lab)?;
        eventually("the advertisement has come", || {
            let now = advertisements(host)?;
            ensure!(now > before, "{now} of them, before {before}");
            Ok(())
        })?;
        stays("no router", Duration::from_millis(300), || {
            let routes = host.sh("ip -6 route show default dev flannel.1")?;
            ensure!(routes.is_empty(), "it was accepted: {routes}");
            Ok(())
        })?;
        cluster.talks(Family::V4)
    })
}
