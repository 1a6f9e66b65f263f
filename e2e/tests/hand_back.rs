//! `tweedd cleanup --hand-back` leaves what flanneld takes over, and removes what would make it fail.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{config, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::Topology;
use tweed_model::Family;

#[test]
fn handing_back_leaves_device_routes_and_entries_and_no_packet_filter() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        host.sh("iptables-nft -P FORWARD DROP")?;
        let mut cluster = Cluster::on_etcd_with(lab, &vxlan(), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        let lease = cluster.etcd()?.lease_of(host.v4())?;
        cluster.agents[0].terminate()?;

        let used = observe::snapshot(host)?;
        let dry = cluster.agents[0].command(&["cleanup", "--hand-back", "--dry-run"])?;
        ensure!(dry.status.success(), "{dry:?}");
        let changed = observe::difference(&used, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "a dry run changed {changed:?}");
        let output = cluster.agents[0].command(&["cleanup", "--hand-back"])?;
        ensure!(output.status.success(), "{output:?}");

        // Device, MAC, address, routes, entries and subnet.env are as they were, but for our mark, and the objects by
        // which routes led.
        ensure!(host.sh("ip nexthop show")?.is_empty(), "objects are left");
        let plain = |snapshot: BTreeSet<String>| -> BTreeSet<String> {
            let lines = snapshot.iter();
            let lines = lines.filter(|line| !line.starts_with("nexthop "));
            let plain =
                |line: &String| observe::without("nhid", line).replace("proto 85", "proto 84");
            lines.map(plain).collect()
        };
        let mut changed = observe::difference(&plain(used), &plain(observe::snapshot(host)?));
        changed.retain(|line| !line[2..].starts_with("nft "));
        let marks = changed
            .iter()
            .filter(|line| line.contains("tweed network tweed"));
        let marks = marks.map(|line| without_alias(line)).collect::<Vec<_>>();
        let rest = changed
            .iter()
            .filter(|line| !line.contains("tweed network tweed"));
        for line in rest.map(|line| without_alias(line)) {
            let before = line.replacen('+', "-", 1);
            ensure!(
                marks.contains(&before),
                "more than the mark changed: {changed:#?}"
            );
        }
        ensure!(
            observe::link(host, "flannel.1")?.get("ifalias").is_none(),
            "still marked"
        );
        let ruleset = host.sh("nft list ruleset")?;
        ensure!(!ruleset.contains("table inet tweed {"), "{ruleset}");
        ensure!(!ruleset.contains("tweed forward"), "{ruleset}");
        ensure!(
            cluster.etcd()?.lease_of(host.v4())? == lease,
            "another lease"
        );
        host.sh("iptables-nft -P FORWARD ACCEPT")?;
        cluster.talks(Family::V4)
    })
}

/// A line of `ip -o` without the alias, which stands at its end behind a backslash.
fn without_alias(line: &str) -> String {
    let at = line.find("alias ").unwrap_or(line.len());
    line[..at].trim_end_matches(['\\', ' ']).to_owned()
}

#[test]
fn handing_back_an_udp_network_leaves_no_tun_device_for_flannel_to_stumble_over() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        let udp = config(&[Family::V4], &json!({ "Type": "udp" }));
        let mut cluster = Cluster::on_etcd(lab, &udp)?;
        cluster.talks(Family::V4)?;
        let file = host.path("/run/flannel/subnet.env");
        let (env, lease) = (std::fs::read(&file)?, cluster.etcd()?.lease_of(host.v4())?);
        cluster.agents[0].terminate()?;
        let persists = host.sh("ip tuntap show")?;
        ensure!(
            persists.contains("flannel0"),
            "nothing to trip over: {persists}"
        );

        let output = cluster.agents[0].command(&["cleanup", "--hand-back"])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(host.sh("ip tuntap show")?.is_empty(), "a device is left");
        let routes = observe::own_routes(host, Family::V4)?;
        ensure!(routes.is_empty(), "routes are left: {routes}");
        let ruleset = host.sh("nft list ruleset")?;
        ensure!(!ruleset.contains("table inet tweed {"), "{ruleset}");
        ensure!(std::fs::read(&file)? == env, "another subnet.env");
        ensure!(
            cluster.etcd()?.lease_of(host.v4())? == lease,
            "another lease"
        );
        // The name is free, as flannel makes the device.
        host.sh("ip tuntap add dev flannel0 mode tun")?;
        host.sh("ip addr show dev flannel0").map(drop)
    })
}
