//! The port belongs to another program when the agent starts: flanneld, most often.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, config};
use tweed_lab::observe::{self, Watch};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use super::moves::readdress;
use super::raw::{PORT, on_uplink};
use super::trouble::words;
use super::{DEVICE, udp};

/// What the agent is told of by the runtime, and what it tells.
const LIST: &str = "/etc/cni/net.d/10-flannel.conflist";
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// Long enough for several attempts: they come 250 ms, 500 ms and a second after each other, give or take a tick.
const ATTEMPTS: Duration = Duration::from_millis(2500);

/// Waits until an agent has found its port taken, and says so.
fn finds_it_taken(agent: &Agent<'_>) -> Result<()> {
    eventually("the agent has found its port taken", || {
        let status = agent.status()?;
        let reasons = status["not_ready"].to_string();
        ensure!(reasons.contains("does flanneld run?"), "{status}");
        ensure!(status["data_plane"]["workers"] == 0, "{status}");
        Ok(())
    })
}

/// The device is left alone while the agent tries again and again; gives its index.
fn stays_the_same(agent: &Agent<'_>) -> Result<u64> {
    let changes = || -> Result<Value> { Ok(agent.status()?["kernel"]["changes"].clone()) };
    // The status may still be that of the pass before: a device that does not persist went with its workers.
    eventually(
        "the kernel holds what it should, and no pass is under way",
        || {
            let before = changes()?;
            observe::ifindex(agent.host(), DEVICE)?;
            let status = agent.status()?;
            ensure!(status["kernel"]["programmed"] == true, "{status}");
            std::thread::sleep(Duration::from_millis(200));
            ensure!(changes()? == before, "a pass has just ended");
            Ok(())
        },
    )?;
    let (index, before) = (observe::ifindex(agent.host(), DEVICE)?, changes()?);
    stays("the device is the same", ATTEMPTS, || {
        let now = observe::ifindex(agent.host(), DEVICE)?;
        ensure!(now == index, "{now}, before {index}");
        Ok(())
    })?;
    let after = changes()?;
    ensure!(after == before, "{after} changes, before {before}");
    Ok(index)
}

/// Pods on all hosts, which reach each other.
fn pods_talk(lab: &Lab) -> Result<()> {
    let pods = Runtime::tweed().pods(&lab.hosts)?;
    traffic::all_reach_each_other(&pods, Family::V4)
}

#[test]
fn pods_wait_until_the_port_is_free_and_so_do_the_container_runtime_and_systemd() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&udp(&[Family::V4]))?;
        let notified = lab.folder.path().join("notify");
        let systemd = UnixDatagram::bind(&notified)?;
        systemd.set_nonblocking(true)?;
        let placing = ["--install-cni", "--cni-bin-dir=/opt/cni/placed"];
        let launch = placing
            .iter()
            .fold(Launch::etcd(), |launch, word| launch.arg(*word));
        let noted = notified.to_str().context("a path")?;
        let host = &lab.hosts[0];
        let other = on_uplink(host, PORT)?;
        let first = launch.clone().env("NOTIFY_SOCKET", noted);
        let mut agent = Agent::start(lab, host, &first)?;
        let mut peer = Agent::start(lab, &lab.hosts[1], &launch)?;
        peer.ready()?;
        finds_it_taken(&agent)?;
        let is_there = |file: &str| host.path(file).exists();
        stays("nobody is told that pods could start", ATTEMPTS, || {
            for file in [SUBNET_FILE, LIST] {
                ensure!(!is_there(file), "{file} is there");
            }
            let mut told = [0; 512];
            if let Ok(len) = systemd.recv(&mut told) {
                let told = String::from_utf8_lossy(&told[..len]);
                ensure!(told.starts_with("STATUS="), "systemd is told {told}");
            }
            let (code, body) = agent.get("/readyz")?;
            ensure!(code == 503, "{body}");
            Ok(())
        })?;
        let log = agent.log()?;
        let named = log
            .lines()
            .filter(|line| line.contains("does flanneld run?"));
        ensure!(named.count() == 1, "said again and again:\n{log}");

        drop(other);
        eventually("systemd is told", || {
            let mut message = [0; 512];
            let len = systemd.recv(&mut message)?;
            ensure!(message[..len].starts_with(b"READY=1"), "{message:?}");
            Ok(())
        })?;
        ensure!(is_there(SUBNET_FILE), "ready without subnet.env");
        agent.ready()?;
        ensure!(is_there(LIST), "ready without the list");
        pods_talk(lab)
    })
}

#[test]
fn a_device_that_shall_not_persist_is_not_made_again_with_each_attempt() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        let options = json!({ "Type": "udp", "Persist": false });
        etcd.put_config(&config(&[Family::V4], &options))?;
        let host = &lab.hosts[0];
        let other = on_uplink(host, PORT)?;
        let watch = Watch::start(host)?;
        let mut agents = [
            Agent::start(lab, host, &Launch::etcd())?,
            Agent::start(lab, &lab.hosts[1], &Launch::etcd())?,
        ];
        agents[1].ready()?;
        finds_it_taken(&agents[0])?;
        let index = stays_the_same(&agents[0])?;

        drop(other);
        agents[0].ready()?;
        pods_talk(lab)?;
        ensure!(observe::ifindex(host, DEVICE)? == index, "another device");
        let seen = watch.stop()?;
        let mut deleted = seen
            .iter()
            .filter(|line| line.starts_with("Deleted") && line.contains(&format!(" {DEVICE}: ")));
        ensure!(deleted.next().is_none(), "{seen:#?}");
        let text = words(&agents[0])?;
        ensure!(!text.contains("flanneld"), "{text}");
        Ok(())
    })
}

#[test]
fn it_is_made_once_more_where_the_port_is_taken_at_the_uplinks_new_address() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let options = json!({ "Type": "udp", "Persist": false });
        let mut cluster = Cluster::on_etcd(lab, &config(&[Family::V4], &options))?;
        cluster.talks(Family::V4)?;
        let host = &lab.hosts[0];
        let (old, new) = ([198, 18, 0, 1].into(), Ipv4Addr::new(198, 18, 0, 101));
        host.sh(&format!("ip addr add {new}/32 dev lo"))?;
        let other = host.place().run(|| Ok(UdpSocket::bind((new, PORT))?))?;
        host.sh(&format!("ip addr del {new}/32 dev lo"))?;
        readdress(host, old, new)?;
        finds_it_taken(&cluster.agents[0])?;
        let index = stays_the_same(&cluster.agents[0])?;

        drop(other);
        cluster.agents[0].ready()?;
        cluster.talks(Family::V4)?;
        ensure!(observe::ifindex(host, DEVICE)? == index, "another device");
        Ok(())
    })
}
