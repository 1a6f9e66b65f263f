//! The lab itself: what every other scenario relies on, shown without Tweed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tweed_lab::docker::Docker;
use tweed_lab::etcd::Etcd;
use tweed_lab::flannel::Node;
use tweed_lab::observe;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::eventually;
use tweed_model::Family;

#[test]
fn hosts_of_a_segment_and_behind_the_router_reach_each_other() -> Result<()> {
    Topology::on_segments(&[0, 0, 1]).outside().play(|lab| {
        for from in &lab.hosts {
            for to in lab.hosts.iter().chain(&lab.outside) {
                for addr in to.addrs.values() {
                    eventually("they answer", || traffic::ping(from.place(), *addr))?;
                }
            }
        }
        let hop = lab.hosts[0].sh("ip route get 198.18.1.3")?;
        let gateway = Lab::gateway(0).v4.expect("IPv4");
        ensure!(hop.contains(&format!("via {gateway} ")), "{hop}");
        Ok(())
    })
}

#[test]
fn hosts_share_no_files_where_it_matters() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        for folder in ["/run", "/var/lib/cni", "/etc/cni/net.d", "/opt/cni/bin"] {
            let mark = format!("{folder}/mark-of-the-lab");
            lab.hosts[0].sh(&format!("touch {mark}"))?;
            ensure!(lab.hosts[0].path(&mark).exists(), "{mark}");
            ensure!(!lab.hosts[1].path(&mark).exists(), "{mark} leaked");
            ensure!(!Path::new(&mark).exists(), "{mark} leaked out");
        }
        Ok(())
    })
}

#[test]
fn processes_of_a_host_end_with_it() -> Result<()> {
    let lab = Topology::hosts(1).build()?;
    let host = &lab.hosts[0];
    let before = host.ns().processes()?;
    host.place().cmd(["sh", "-c", "sleep 1000 >&- 2>&- &"])?;
    let mut new = host.ns().processes()?;
    new.retain(|pid| !before.contains(pid));
    let [orphan] = new[..] else {
        bail!("one process was started, {new:?} are there");
    };
    drop(lab);
    ensure!(
        !Path::new(&format!("/proc/{orphan}")).exists(),
        "process {orphan} outlives its host"
    );
    Ok(())
}

#[test]
fn a_flannel_network_laid_out_by_hand_carries_traffic_and_a_broken_one_loses_it() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = [Node::of(&lab.hosts[0])?, Node::of(&lab.hosts[1])?];
        nodes[0].lay_out(&lab.hosts[0], &nodes[1..])?;
        nodes[1].lay_out(&lab.hosts[1], &nodes[..1])?;
        let pods = [
            nodes[0].go_plugins().pod(&lab.hosts[0])?,
            nodes[1].go_plugins().pod(&lab.hosts[1])?,
        ];
        traffic::all_reach_each_other(&pods, Family::V4)?;
        traffic::ping_size(pods[0].place(), pods[1].v4()?, 1450)?;
        let transfer = traffic::tcp(pods[0].place(), pods[1].place(), pods[1].v4()?, 1 << 20)?;
        ensure!(transfer.client == pods[0].v4()?, "{transfer:?}");

        let stream = Stream::start(&pods[0], &pods[1], Family::V4)?;
        thread::sleep(Duration::from_millis(500));
        let loss = stream.stop()?;
        ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");

        let stream = Stream::start(&pods[0], &pods[1], Family::V4)?;
        lab.hosts[0].sh("ip link set flannel.1 down")?;
        thread::sleep(Duration::from_millis(300));
        let loss = stream.stop()?;
        ensure!(loss.lost > 5, "nothing noticed: {loss:?}");
        Ok(())
    })
}

#[test]
fn what_changes_is_seen_and_what_stays_is_not() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let before = observe::snapshot(host)?;
        let watch = observe::Watch::start(host)?;
        ensure!(
            before == observe::snapshot(host)?,
            "a snapshot is not stable"
        );
        ensure!(watch.stop()?.is_empty(), "looking changes something");

        let watch = observe::Watch::start(host)?;
        host.sh("ip route add 10.9.9.0/24 via 198.18.0.254")?;
        host.sh("nft add table inet seen")?;
        let lines = watch.stop()?.join("\n");
        ensure!(
            lines.contains("10.9.9.0/24") && lines.contains("seen"),
            "{lines}"
        );
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.len() == 3, "{changed:?}");
        Ok(())
    })
}

#[test]
fn etcd_keeps_its_data_over_a_stop() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut etcd = Etcd::start(lab)?;
        etcd.put("/a", "{\"x\": \"a b\"}")?;
        etcd.stop()?;
        ensure!(etcd.put("/b", "x").is_err(), "it answers though stopped");
        etcd.resume()?;
        ensure!(
            etcd.ctl(&["get", "--print-value-only", "/a"])?.trim() == "{\"x\": \"a b\"}",
            "lost"
        );
        etcd.compact()
    })
}

#[test]
fn without_an_agent_docker_drops_what_comes_from_containers_of_other_hosts() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = [Node::of(&lab.hosts[0])?, Node::of(&lab.hosts[1])?];
        nodes[0].lay_out(&lab.hosts[0], &nodes[1..])?;
        nodes[1].lay_out(&lab.hosts[1], &nodes[..1])?;
        let mut dockers = Vec::new();
        for (host, node) in lab.hosts.iter().zip(&nodes) {
            let first = node.subnet.hosts().next().expect("a /24 has hosts");
            let options = format!("--bip={first}/24 --ip-masq=false --mtu=1450");
            let options: Vec<_> = options.split(' ').map(str::to_owned).collect();
            dockers.push(Docker::start(host, &options)?);
        }
        let (first, second) = (dockers[0].container()?, dockers[1].container()?);
        ensure!(first.ping(second.addr).is_err(), "Docker lets it pass");
        for host in &lab.hosts {
            host.sh("iptables -P FORWARD ACCEPT")?;
        }
        first.ping(second.addr)
    })
}
