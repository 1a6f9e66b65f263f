//! The operator changes the network configuration under running agents: pods go on where the change allows it, what
//! the old configuration needed is swept, and a broken one changes nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::peer_routes;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::fault;
use tweed_lab::launch::{config, vxlan, vxlan_dual};
use tweed_lab::observe;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

fn vxlan_with(key: &str, value: Value) -> Value {
    let mut backend = json!({ "Type": "vxlan" });
    backend[key] = value;
    config(&[Family::V4], &backend)
}

fn host_gw(families: &[Family]) -> Value {
    config(families, &json!({ "Type": "host-gw" }))
}

pub(crate) fn on_each_store(
    before: &Value,
    scenario: impl Fn(&Lab, &mut Cluster<'_>) -> Result<()>,
) -> Result<()> {
    Topology::hosts(2).play(|lab| scenario(lab, &mut Cluster::on_etcd(lab, before)?))?;
    Topology::hosts(2).play(|lab| scenario(lab, &mut Cluster::on_files(lab, before)?))
}

/// The agent's own nftables table, whose name depends on the store; nothing where it needs none.
pub(crate) fn agent_rules(host: &Host) -> Result<String> {
    let tables = host.sh("nft list tables")?;
    let mut names = tables
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "));
    match names.find(|name| name.starts_with("tweed") && *name != "tweed-cni") {
        Some(name) => host.sh(&format!("nft list table inet {name}")),
        None => Ok(String::new()),
    }
}

fn has_links(host: &Host, there: &[&str], gone: &[&str]) -> Result<()> {
    let links = host.sh("ip -o link show")?;
    let has = |name: &str| {
        let mut lines = links.lines();
        lines.any(|line| line.contains(&format!(": {name}: ")))
    };
    for name in there {
        ensure!(has(name), "there is no {name}: {links}");
    }
    for name in gone {
        ensure!(!has(name), "{name} is still there: {links}");
    }
    Ok(())
}

pub(crate) fn all(lab: &Lab, what: &str, check: impl Fn(&Host) -> Result<()>) -> Result<()> {
    lab.hosts
        .iter()
        .try_for_each(|host| eventually(&format!("{what} on {}", host.name()), || check(host)))
}

pub(crate) fn ready(cluster: &mut Cluster<'_>) -> Result<()> {
    cluster
        .agents
        .iter_mut()
        .try_for_each(|agent| agent.ready().map(drop))
}

/// Ends the pods: those of an earlier subnet keep a node from being ready.
pub(crate) fn drain(cluster: &Cluster<'_>) -> Result<()> {
    let runtime = Runtime::tweed();
    let mut pods = cluster.pods.iter();
    pods.try_for_each(|pod| runtime.del(pod, "eth0"))
}

#[test]
fn another_vni_moves_all_nodes_to_another_device_and_the_old_one_goes() -> Result<()> {
    on_each_store(&vxlan(), |lab, cluster| {
        let env = cluster.agents[0].subnet_env()?;
        let changed = vxlan_with("VNI", json!(7));
        cluster.launch.set_config(lab, &changed)?;
        all(lab, "the device of VNI 7", |host| {
            has_links(host, &["flannel.7"], &["flannel.1"])
        })?;
        cluster.talks(Family::V4)?;
        ready(cluster)?;
        ensure!(cluster.agents[0].subnet_env()? == env, "the subnet changed");
        Ok(())
    })
}

#[test]
fn another_port_replaces_the_device_in_place() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let mac = cluster.peer(0, Family::V4)?.mac;
        cluster
            .launch
            .set_config(lab, &vxlan_with("Port", json!(4789)))?;
        all(lab, "port 4789", |host| {
            let device = host.sh("ip -d link show dev flannel.1")?;
            ensure!(device.contains("dstport 4789"), "{device}");
            let rules = agent_rules(host)?;
            ensure!(rules.contains("4789") && !rules.contains("8472"), "{rules}");
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        ensure!(cluster.peer(0, Family::V4)?.mac == mac, "another MAC");
        ready(&mut cluster)
    })
}

#[test]
fn another_mtu_is_set_without_a_lost_packet_and_stands_in_subnet_env() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        // flannel takes the option for the uplink's: the device has 50 less.
        cluster
            .launch
            .set_config(lab, &vxlan_with("MTU", json!(1400)))?;
        all(lab, "MTU 1350", |host| {
            let mtu = fault::mtu(host, "flannel.1")?;
            ensure!(mtu == 1350, "the device has {mtu}");
            Ok(())
        })?;
        for agent in &cluster.agents {
            eventually("subnet.env has it", || {
                let mtu = agent.subnet_env()?.mtu;
                ensure!(mtu == 1350, "it has {mtu}");
                Ok(())
            })?;
        }
        let loss = stream.stop()?;
        ensure!(loss.sent > 0 && loss.lost == 0, "{loss:?}");
        cluster.launch.set_config(lab, &vxlan())?;
        all(lab, "MTU 1450 again", |host| {
            let mtu = fault::mtu(host, "flannel.1")?;
            ensure!(mtu == 1450, "the device has {mtu}");
            Ok(())
        })
    })
}

#[test]
fn vxlan_becomes_host_gw_and_vxlan_again_under_running_pods() -> Result<()> {
    on_each_store(&vxlan(), |lab, cluster| {
        cluster.launch.set_config(lab, &host_gw(&[Family::V4]))?;
        all(lab, "routes over the uplink", |host| {
            has_links(host, &[], &["flannel.1"])?;
            let routes = observe::own_routes(host, Family::V4)?;
            ensure!(routes.contains("dev eth0"), "{routes}");
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        for agent in &cluster.agents {
            eventually("the pods' MTU is the uplink's", || {
                let mtu = agent.subnet_env()?.mtu;
                ensure!(mtu == 1500, "it is {mtu}");
                Ok(())
            })?;
        }
        cluster.launch.set_config(lab, &vxlan())?;
        all(lab, "routes over the device", |host| {
            has_links(host, &["flannel.1"], &[])?;
            let routes = observe::own_routes(host, Family::V4)?;
            ensure!(
                routes.contains("dev flannel.1") && !routes.contains("dev eth0"),
                "{routes}"
            );
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        ready(cluster)
    })
}

#[test]
fn ipv6_is_added_and_taken_away_while_ipv4_goes_on() -> Result<()> {
    on_each_store(&vxlan(), |lab, cluster| {
        let v4 = cluster.agents[0].subnet(Family::V4)?;
        cluster.launch.set_config(lab, &vxlan_dual())?;
        all(lab, "both devices", |host| {
            has_links(host, &["flannel.1", "flannel-v6.1"], &[])
        })?;
        for agent in &cluster.agents {
            eventually("a subnet of each family", || agent.subnet(Family::V6))?;
            eventually("a peer of each family", || agent.sees(1))?;
        }
        ensure!(
            cluster.agents[0].subnet(Family::V4)? == v4,
            "another IPv4 subnet"
        );
        cluster.talks(Family::V4)?;
        // Pods made from now on have both.
        let pods = Runtime::tweed().pods(&lab.hosts)?;
        tweed_lab::traffic::all_reach_each_other(&pods, Family::V6)?;

        cluster.launch.set_config(lab, &vxlan())?;
        all(lab, "one device", |host| {
            has_links(host, &["flannel.1"], &["flannel-v6.1"])?;
            let left = peer_routes(host, Family::V6)?;
            ensure!(left.is_empty(), "IPv6 routes are left: {left:?}");
            let rules = agent_rules(host)?;
            ensure!(!rules.contains("fd00:10:244"), "{rules}");
            Ok(())
        })?;
        ensure!(
            cluster.agents[0].subnet(Family::V4)? == v4,
            "another IPv4 subnet"
        );
        cluster.talks(Family::V4)?;
        ready(cluster)
    })
}

#[test]
fn host_gw_without_ipv6_leaves_no_ipv6_routes_behind() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &host_gw(&Family::BOTH))?;
        cluster.talks(Family::V6)?;
        cluster.launch.set_config(lab, &host_gw(&[Family::V4]))?;
        all(lab, "no IPv6 routes", |host| {
            let left = peer_routes(host, Family::V6)?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        ready(&mut cluster)
    })
}

#[test]
fn another_subnet_length_gives_leases_of_that_length() -> Result<()> {
    on_each_store(&vxlan(), |lab, cluster| {
        let mut changed = vxlan();
        changed["SubnetLen"] = json!(26);
        cluster.launch.set_config(lab, &changed)?;
        for agent in &cluster.agents {
            eventually("a /26", || {
                let subnet = agent.subnet(Family::V4)?;
                ensure!(subnet.prefix_len() == 26, "{subnet}");
                Ok(())
            })?;
        }
        all(lab, "a route of that length alone", |host| {
            let routes = peer_routes(host, Family::V4)?;
            ensure!(
                routes.len() == 1 && routes[0].prefix_len() == 26,
                "{routes:?}"
            );
            Ok(())
        })?;
        drain(cluster)?;
        ready(cluster)
    })
}

#[test]
fn a_broken_configuration_changes_nothing_and_is_named_until_it_is_mended() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        for (broken, named) in [
            (r#"{"Network": "10.244.0.0/16", "Backend": "#, "JSON"),
            (
                r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "carrier-pigeon"}}"#,
                "carrier-pigeon",
            ),
            (
                r#"{"Network": "10.244.0.0/16", "SubnetLen": 31, "Backend": {"Type": "vxlan"}}"#,
                "SubnetLen",
            ),
            (
                r#"{"Network": "224.0.0.0/8", "Backend": {"Type": "vxlan"}}"#,
                "multicast",
            ),
            (
                r#"{"Network": "127.0.0.0/8", "Backend": {"Type": "vxlan"}}"#,
                "loopback",
            ),
            ("", ""),
        ] {
            cluster.etcd()?.put("/coreos.com/network/config", broken)?;
            let agent = &cluster.agents[0];
            eventually("status names it", || {
                let status = agent.status()?;
                let reason = status["broken"]["config"].as_str().unwrap_or_default();
                ensure!(
                    !reason.is_empty() && reason.contains(named),
                    "{}",
                    status["broken"]
                );
                Ok(())
            })?;
            ensure!(
                agent.metric("tweed_broken_entries")? >= 1.0,
                "the metric does not"
            );
        }
        cluster.etcd()?.delete("/coreos.com/network/config")?;
        eventually("status says that it is gone", || {
            let status = cluster.agents[0].status()?;
            let reason = status["broken"]["config"].as_str().unwrap_or_default();
            ensure!(reason.contains("gone"), "{}", status["broken"]);
            Ok(())
        })?;
        let loss = stream.stop()?;
        ensure!(loss.lost == 0, "{loss:?}");
        // A fault is repaired on the old configuration all the while, and the lease is still ours.
        let peer = cluster.peer(1, Family::V4)?;
        lab.hosts[0].sh("ip link del flannel.1")?;
        eventually("repaired", || peer.is_programmed(&lab.hosts[0]))?;
        ready(&mut cluster)?;

        cluster.launch.set_config(lab, &vxlan())?;
        eventually("nothing is named any more", || {
            let status = cluster.agents[0].status()?;
            ensure!(
                status["broken"]
                    .as_object()
                    .is_some_and(|all| all.is_empty()),
                "{status}"
            );
            ensure!(
                cluster.agents[0].metric("tweed_broken_entries")? == 0.0,
                "metric"
            );
            Ok(())
        })?;
        stays("no new session", Duration::from_millis(500), || {
            let log = cluster.agents[0].log()?;
            ensure!(
                log.matches("session starts").count() == 1,
                "another session"
            );
            Ok(())
        })
    })
}
