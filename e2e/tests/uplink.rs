//! The uplink moves, changes or goes away under a running agent, and each way to name it.

mod announced;
mod pods;
mod virtual_address;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::backend::Backend;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, config, vxlan, vxlan_dual};
use tweed_lab::namespace::Place;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{eventually, timed};
use tweed_lab::{fault, observe, traffic};
use tweed_model::Family;

use super::backends::each_backend;

/// A new address is in the store, and at the peers, within this time.
const MOVED: Duration = Duration::from_secs(2);

pub(crate) fn batch(place: Place<'_>, lines: &str) -> Result<()> {
    let mut ip = std::process::Command::new("ip");
    place.cmd_with(ip.args(["-batch", "-"]), lines).map(drop)
}

/// Deletes a host's uplink; gives its MAC, by which its neighbours know it.
pub(crate) fn unplug(host: &Host) -> Result<String> {
    let mac = observe::mac(host, "eth0")?;
    host.sh("ip link del eth0")?;
    Ok(mac)
}

/// Gives a host of the first segment the uplink that it has lost, with its address and route.
pub(crate) fn replug(lab: &Lab, host: &Host, mac: &str) -> Result<()> {
    let port = format!("to-{}", host.name());
    plug(lab, host, &["eth0", "address", mac], &port)?;
    lab.switch
        .place()
        .sh(&format!("ip link set {port} master seg0 up"))?;
    batch(
        host.place(),
        &format!(
            "link set eth0 up\naddr add {}/24 dev eth0\nroute add default via 198.18.0.254\n",
            host.v4()
        ),
    )
}

/// Joins a host to a port of the switch by a cable; `device` is what the host's end is called, and how it is made.
fn plug(lab: &Lab, host: &Host, device: &[&str], port: &str) -> Result<()> {
    let output = std::process::Command::new("ip")
        .args(["link", "add", "name"])
        .args(device)
        .arg("netns")
        .arg(host.ns().init_pid().to_string())
        .args(["type", "veth", "peer", "name", port, "netns"])
        .arg(lab.switch.init_pid().to_string())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    Ok(())
}

/// Gives a host a second interface on segment 5, `eth1` with the address 198.18.5.<n>.
fn second_uplink(lab: &Lab, host: &Host) -> Result<String> {
    let (switch, port) = (lab.switch.place(), format!("alt-{}", host.name()));
    if switch.sh("ip link show dev seg5").is_err() {
        batch(
            switch,
            "link add seg5 type bridge forward_delay 0 mcast_snooping 0\nlink set seg5 up\naddr add 198.18.5.254/24 dev seg5\n",
        )?;
    }
    plug(lab, host, &["eth1"], &port)?;
    switch.sh(&format!("ip link set {port} master seg5 up"))?;
    let addr = format!("198.18.5.{}", host.index + 1);
    batch(
        host.place(),
        &format!("link set eth1 up\naddr add {addr}/24 dev eth1\n"),
    )?;
    Ok(addr)
}

fn device(host: &Host, words: &[&str]) -> Result<()> {
    let shown = host.sh("ip -d link show dev flannel.1")?;
    ensure!(
        words.iter().all(|word| shown.contains(word)),
        "not {words:?}: {shown}"
    );
    Ok(())
}

#[test]
fn a_new_address_of_the_uplink_reaches_store_and_peers_in_two_seconds() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, peer) = (&lab.hosts[0], &lab.hosts[1]);
        let (before, _) = cluster.etcd()?.lease_of(host.v4())?;
        let start = Instant::now();
        batch(
            host.place(),
            "addr del 198.18.0.1/24 dev eth0\naddr add 198.18.0.101/24 dev eth0\nroute replace default via 198.18.0.254\n",
        )?;
        let addr = "198.18.0.101".parse()?;
        let etcd = cluster.etcd()?;
        let ((after, _), _) = timed("the lease has the new address", MOVED, || etcd.lease_of(addr))?;
        ensure!(before == after, "{after} instead of {before}");
        timed("the peer sends there", MOVED, || {
            let fdb = peer.sh("bridge fdb show dev flannel.1")?;
            ensure!(fdb.contains("dst 198.18.0.101 "), "{fdb}");
            Ok(())
        })?;
        ensure!(start.elapsed() < MOVED, "it took {:?}", start.elapsed());
        eventually("the device sends from there", || device(host, &["local 198.18.0.101"]))?;
        cluster.talks(Family::V4)?;
        cluster.agents[0].ready().map(drop)
    })
}

each_backend! {
    all: [a_long_cut_of_the_uplink_shows_in_readiness_and_all_routes_come_back],
}

fn a_long_cut_of_the_uplink_shows_in_readiness_and_all_routes_come_back(
    backend: &Backend,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let host = &lab.hosts[0];
        let routes = || -> Result<String> {
            Ok(observe::own_routes(host, Family::V4)? + &observe::own_routes(host, Family::V6)?)
        };
        let before = routes()?;
        host.sh("ip link set eth0 down")?;
        eventually("readiness tells", || {
            let (status, text) = cluster.agents[0].get("/readyz")?;
            ensure!(status == 503, "{text}");
            Ok(())
        })?;
        // What an interface manager puts back; IPv6 addresses go with the link.
        batch(
            host.place(),
            &format!(
                "link set eth0 up\naddr replace {}/64 dev eth0 nodad\nroute replace default via 198.18.0.254\n",
                host.v6()
            ),
        )?;
        timed("all routes are back", Duration::from_secs(4), || {
            let after = routes()?;
            ensure!(before == after, "{after}");
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        cluster.agents[0].ready().map(drop)
    })
}

#[test]
fn an_uplink_that_is_deleted_and_made_again_carries_the_overlay_again() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let vtep = cluster.peer(0, Family::V4)?.mac;
        for _ in 0..2 {
            let mac = unplug(host)?;
            eventually("readiness names it", || {
                let (status, text) = cluster.agents[0].get("/readyz")?;
                ensure!(status == 503 && text.contains("eth0"), "{status} {text}");
                Ok(())
            })?;
            replug(lab, host, &mac)?;
            timed("the device is back", Duration::from_secs(3), || {
                device(host, &[" dev eth0 ", "local 198.18.0.1", &vtep])
            })?;
            cluster.talks(Family::V4)?;
            cluster.agents[0].ready()?;
            // The monitor must know the new interface too.
            host.sh("ip link set eth0 mtu 1400")?;
            eventually("its MTU is followed", || {
                let mtu = fault::mtu(host, "flannel.1")?;
                ensure!(mtu == 1350, "{mtu}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn the_mtu_of_the_uplink_is_followed_by_devices_and_subnet_env() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        for (uplink, v4, v6) in [(1400, 1350, 1330), (1300, 1250, 1280), (1500, 1450, 1430)] {
            host.sh(&format!("ip link set eth0 mtu {uplink}"))?;
            timed(
                "devices and subnet.env follow",
                Duration::from_secs(3),
                || {
                    let found = (
                        fault::mtu(host, "flannel.1")?,
                        fault::mtu(host, "flannel-v6.1").ok(),
                        cluster.agents[0].subnet_env()?.mtu,
                    );
                    // Below 1280 there is no IPv6: that is refused, and named.
                    if v6 == 1280 {
                        let (_, text) = cluster.agents[0].get("/readyz")?;
                        ensure!(text.contains("1280") || text.contains("MTU"), "{text}");
                        return Ok(());
                    }
                    ensure!(found == (v4, Some(v6), v6 as u32), "{found:?}");
                    Ok(())
                },
            )?;
        }
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        cluster.agents[0].ready().map(drop)
    })
}

/// An agent with these flags instead of `--iface=eth0`, on a host with two interfaces.
fn with_flags(
    flags: &[&str],
    scenario: impl Fn(&Lab, &mut Agent<'_>, &Etcd<'_>) -> Result<()>,
) -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        second_uplink(lab, &lab.hosts[0])?;
        let mut launch = Launch::etcd().any_uplink();
        for flag in flags {
            launch = launch.arg(*flag);
        }
        let mut agent = Agent::start(lab, &lab.hosts[0], &launch)?;
        agent.ready()?;
        scenario(lab, &mut agent, &etcd)
    })
}

fn is_on(
    agent: &Agent<'_>,
    etcd: &Etcd<'_>,
    interface: &str,
    local: &str,
    public: &str,
) -> Result<()> {
    let words = [format!(" dev {interface} "), format!("local {local} ")];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    eventually("the device is on it", || device(agent.host(), &words))?;
    let public = public.parse()?;
    eventually("the lease has its address", || etcd.lease_of(public)).map(drop)
}

#[test]
fn each_way_to_name_the_uplink_finds_it() -> Result<()> {
    for flags in [
        &["--iface=eth1"][..],
        &["--iface=198.18.5.1"],
        &["--iface=nosuch0", "--iface=eth1"],
        &["--iface-regex=^eth[1-9]$"],
        &["--iface-regex=198\\.18\\.5\\..*"],
        &["--iface-can-reach=198.18.5.77"],
        &["--public-ip=198.18.5.1"],
    ] {
        with_flags(flags, |_, agent, etcd| {
            is_on(agent, etcd, "eth1", "198.18.5.1", "198.18.5.1")
        })
        .with_context(|| format!("{flags:?}"))?;
    }
    with_flags(
        &["--iface=eth1", "--public-ip=203.0.113.7"],
        |_, agent, etcd| is_on(agent, etcd, "eth1", "198.18.5.1", "203.0.113.7"),
    )?;
    with_flags(&[], |_, agent, etcd| {
        is_on(agent, etcd, "eth0", "198.18.0.1", "198.18.0.1")
    })
}

#[test]
fn the_overlay_follows_the_default_route_to_another_interface() -> Result<()> {
    with_flags(&[], |_, agent, etcd| {
        is_on(agent, etcd, "eth0", "198.18.0.1", "198.18.0.1")?;
        let host = agent.host();
        // Both stay up: nothing but a route says that the uplink is another one now.
        host.sh("ip route replace default via 198.18.5.254 dev eth1")?;
        is_on(agent, etcd, "eth1", "198.18.5.1", "198.18.5.1")?;
        host.sh("ip route add default via 198.18.0.254 dev eth0 metric 5")?;
        host.sh("ip route del default dev eth1")?;
        is_on(agent, etcd, "eth0", "198.18.0.1", "198.18.0.1")?;
        agent.ready().map(drop)
    })
}

#[test]
fn what_can_be_reached_decides_again_when_its_route_moves() -> Result<()> {
    with_flags(&["--iface-can-reach=203.0.113.1"], |_, agent, etcd| {
        is_on(agent, etcd, "eth0", "198.18.0.1", "198.18.0.1")?;
        agent
            .host()
            .sh("ip route add 203.0.113.0/24 via 198.18.5.254 dev eth1")?;
        is_on(agent, etcd, "eth1", "198.18.5.1", "198.18.5.1")
    })
}

#[test]
fn host_gw_moves_to_another_uplink_with_its_subnets_and_leaves_no_route_behind() -> Result<()> {
    let config = config(&[Family::V4], &json!({ "Type": "host-gw" }));
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&config)?;
        moves_with_its_subnets(lab, &Launch::etcd())
    })?;
    Topology::hosts(2).play(|lab| {
        let launch = Launch::file(lab);
        launch.set_config(lab, &config)?;
        moves_with_its_subnets(lab, &launch)
    })
}

fn moves_with_its_subnets(lab: &Lab, launch: &Launch) -> Result<()> {
    let launch = launch.clone().any_uplink();
    for host in &lab.hosts {
        second_uplink(lab, host)?;
    }
    let mut agents = Agent::everywhere(lab, &launch)?;
    let subnets = |agents: &[Agent<'_>]| -> Result<Vec<_>> {
        agents
            .iter()
            .map(|agent| agent.subnet(Family::V4))
            .collect()
    };
    let before = subnets(&agents)?;
    let pods = Runtime::tweed().pods(&lab.hosts)?;
    traffic::all_reach_each_other(&pods, Family::V4)?;
    // One agent sees it happen, the other one finds it so at its next start.
    agents[1].kill()?;
    for host in &lab.hosts {
        host.sh("ip route replace default via 198.18.5.254 dev eth1")?;
    }
    agents[1] = Agent::start(lab, &lab.hosts[1], &launch)?;
    for agent in &mut agents {
        eventually("its routes are on eth1 alone", || {
            let routes = observe::own_routes(agent.host(), Family::V4)?;
            ensure!(
                routes.contains("dev eth1") && !routes.contains("dev eth0"),
                "{routes}"
            );
            Ok(())
        })?;
        agent.ready()?;
    }
    ensure!(subnets(&agents)? == before, "other subnets than {before:?}");
    traffic::all_reach_each_other(&pods, Family::V4)
}
