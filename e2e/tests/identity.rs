//! Address and MAC together show which node holds a lease: one address may be two hosts, and one host may forget its MAC.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::etcd::PREFIX;
use tweed_lab::launch::vxlan;
use tweed_lab::observe;
use tweed_lab::topology::Topology;
use tweed_model::Family;

#[test]
fn a_new_host_that_announces_the_address_of_a_live_one_gets_another_subnet() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let [first, .., last] = &lab.hosts[..] else {
            unreachable!("three hosts")
        };
        // A host as new as on its first day, behind the same NAT as the first one.
        Runtime::tweed().del(&cluster.pods[2], "eth0")?;
        cluster.agents[2].kill()?;
        last.sh("ip link del flannel.1")?;
        last.sh("rm -rf /run/flannel")?;
        last.sh("find /var/lib/tweed -type f -delete")?;
        let launch = cluster
            .launch
            .clone()
            .arg(format!("--public-ip={}", first.v4()));
        let mut twin = Agent::start(lab, last, &launch)?;
        twin.ready()?;

        let (kept, own) = (
            cluster.agents[0].subnet(Family::V4)?,
            twin.subnet(Family::V4)?,
        );
        ensure!(kept != own, "both hosts use {own}");
        ensure!(
            observe::mac(first, "flannel.1")? != observe::mac(last, "flannel.1")?,
            "both hosts use one MAC"
        );
        let key = format!("{PREFIX}/subnets/{}", kept.to_string().replace('/', "-"));
        let value = cluster
            .etcd()?
            .ctl(&["get", "--print-value-only", "--", &key])?;
        ensure!(
            !value.contains("Holder"),
            "the question is still there: {value}"
        );
        let routes = peer_routes(&lab.hosts[1], Family::V4)?;
        ensure!(
            routes.contains(&kept),
            "the first host was dropped: {routes:?}"
        );
        Ok(())
    })
}

#[test]
fn a_host_that_lost_state_and_device_gets_its_subnet_back_and_its_peers_learn_the_new_mac()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let (subnet, old) = (
            cluster.agents[0].subnet(Family::V4)?,
            cluster.peer(0, Family::V4)?,
        );
        cluster.agents[0].kill()?;
        host.sh("ip link del flannel.1")?;
        host.sh("rm -rf /run/flannel")?;
        host.sh("find /var/lib/tweed -type f -delete")?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        let taken = agent.ready()?;
        ensure!(
            taken > Duration::from_secs(2),
            "nobody was asked: {taken:?}"
        );
        ensure!(agent.subnet(Family::V4)? == subnet, "another subnet");
        cluster.agents[0] = agent;
        let new = cluster.peer(0, Family::V4)?;
        ensure!(new.mac != old.mac, "a MAC that nobody remembered");
        cluster.talks(Family::V4)?;
        new.is_programmed(&lab.hosts[1])?;
        let (_, value) = cluster.etcd()?.lease_of(host.v4())?;
        ensure!(
            value["BackendData"] == json!({ "VNI": 1, "VtepMAC": new.mac }),
            "{value}"
        );
        ensure!(value.get("Holder").is_none(), "{value}");
        Ok(())
    })
}
