//! Two networks' agents on one host that get into each other's way: what one owns the other never changes or drops, what
//! a dead one left is swept, and a path belongs to one of them.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{TIMEOUT, eventually};
use tweed_lab::{observe, traffic};
use tweed_model::Family;

/// Agents of another network, in a folder of its own.
fn elsewhere(lab: &Lab) -> Launch {
    Launch::file_at(&lab.folder.path().join("elsewhere"))
}

/// Another pod network over the same tunnel: VNI 1 and port 8472 are the defaults.
fn other_network() -> Value {
    json!({ "Network": "10.99.0.0/16", "Backend": { "Type": "vxlan" } })
}

/// The tables of ours on a host.
fn tables(host: &Host) -> Result<Vec<String>> {
    let list = host.sh("nft list tables inet")?;
    let names = list.lines().filter_map(|line| line.rsplit(' ').next());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("tweed") && *name != "tweed-cni")
        .map(str::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

/// Waits until the agent says that it isn't ready, in these words.
fn not_ready(agent: &Agent<'_>, words: &[&str]) -> Result<()> {
    eventually("the agent says what is in the way", || {
        let status = agent.status()?;
        ensure!(status["ready"] == false, "ready: {status}");
        let reasons = status["not_ready"].to_string();
        for word in words {
            ensure!(reasons.contains(word), "no {word:?} in {reasons}");
        }
        Ok(())
    })
}

#[test]
fn nodes_started_with_another_store_sweep_the_first_instance_and_talk() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let first = Launch::file(lab);
        first.set_config(lab, &vxlan())?;
        // Docker's way: what accepts in the first one's name is swept too.
        for host in &lab.hosts {
            host.sh("iptables-nft -P FORWARD DROP")?;
        }
        let mut agents = Agent::everywhere(lab, &first)?;
        let before = tables(&lab.hosts[0])?;
        ensure!(before.len() == 1, "{before:?}");
        for agent in &mut agents {
            agent.terminate()?;
        }

        let second = elsewhere(lab);
        second.set_config(lab, &vxlan())?;
        let _agents = Agent::everywhere(lab, &second)?;
        for host in &lab.hosts {
            eventually("the first instance is swept", || {
                let now = tables(host)?;
                ensure!(now.len() == 1 && now != before, "{now:?}");
                let rules = host.sh("nft list chain ip filter FORWARD")?;
                ensure!(!rules.contains(&before[0]), "{rules}");
                Ok(())
            })?;
        }
        let runtime = Runtime::tweed();
        let pods = [runtime.pod(&lab.hosts[0])?, runtime.pod(&lab.hosts[1])?];
        traffic::all_reach_each_other(&pods, Family::V4)
    })
}

#[test]
fn a_second_agent_with_the_same_vni_is_refused_by_name_and_harms_nobody() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let before = observe::snapshot(host)?;
        let launch = elsewhere(lab).instance(1);
        launch.set_config(lab, &other_network())?;
        let mut second = Agent::start(lab, host, &launch)?;
        not_ready(
            &second,
            &["take device flannel.1", "instance tweed (pid", "VNI"],
        )?;
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "{changed:?}");
        cluster.talks(Family::V4)?;

        // The first one's restart is no gap that the second slips into.
        cluster.agents[0].kill()?;
        second.signal(Signal::SIGHUP)?;
        not_ready(&second, &["take device flannel.1"])?;
        let mut first = Agent::start(lab, host, &cluster.launch)?;
        first.ready()?;
        cluster.agents[0] = first;
        let link = host.sh("ip link show dev flannel.1")?;
        ensure!(link.contains("alias tweed network tweed\n"), "{link}");

        // Its own cleanup takes nothing of the first one's either.
        second.terminate()?;
        let cleanup = second.command(&["cleanup"])?;
        ensure!(cleanup.status.success(), "{cleanup:?}");
        cluster.agents[0].ready()?;
        observe::link(host, "flannel.1")?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_table_of_another_agent_that_drops_our_peers_packets_makes_the_node_not_ready() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        // As an agent of an earlier version does, which knows nothing of others.
        let mut lock = File::create(host.path("/run/tweed/tweed-0a1b2c3d.lock"))?;
        writeln!(lock, "4711")?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .context("lock")?;
        let table = concat!(
            "table inet tweed-0a1b2c3d { ",
            "comment \"written by tweed; changes by hand are undone\"; chain input { ",
            "type filter hook input priority 0; ",
            "udp dport 8472 ip saddr != 192.0.2.1 @th,96,24 1 drop; }; }"
        );
        let mut nft = Command::new("nft");
        host.place().cmd_with(nft.args(["-f", "-"]), table)?;
        cluster.agents[0].signal(Signal::SIGHUP)?;
        let words = ["inet tweed-0a1b2c3d", "(pid 4711)", "drops them"];
        not_ready(&cluster.agents[0], &words)?;
        ensure!(tables(host)?.len() == 2, "swept though its agent runs");

        drop(lock);
        cluster.agents[0].signal(Signal::SIGHUP)?;
        cluster.agents[0].ready()?;
        ensure!(tables(host)? == ["tweed"], "left: {:?}", tables(host)?);
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_path_that_another_agent_has_is_refused_by_name_until_that_one_ends() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let network = json!({
            "Network": "10.99.0.0/16", "Backend": { "Type": "vxlan", "VNI": 2 }
        });
        let launch = elsewhere(lab).instance(1);
        launch.set_config(lab, &network)?;
        let shared = [
            ("--subnet-file=/run/flannel/subnet.env", "subnet file"),
            ("--socket=/run/tweed/tweedd.sock", "another program listens"),
            ("--healthz-port=10500", "in use"),
        ];
        for (flag, words) in shared {
            let mut second = Agent::start(lab, host, &launch.clone().arg(flag))?;
            let (status, _) = second.ended(TIMEOUT)?;
            ensure!(status.code() == Some(1), "{flag}: it ended with {status}");
            let log = second.log()?;
            let flag = flag.split('=').next().unwrap_or(flag);
            for word in [words, flag] {
                ensure!(log.contains(word), "{flag}: no {word:?} in {log}");
            }
        }
        // The same instance with other folders: neither lock nor folder is shared, and the table would be.
        let twin = launch
            .clone()
            .arg("--instance=tweed")
            .arg("--run-dir=/run/twin");
        let mut twin = Agent::start(lab, host, &twin)?;
        let (status, _) = twin.ended(TIMEOUT)?;
        ensure!(status.code() == Some(1), "it ended with {status}");
        ensure!(twin.log()?.contains("works on this host as instance tweed"));

        // Nothing has to be removed by hand after a violent end.
        cluster.agents[0].kill()?;
        let flag = "--subnet-file=/run/flannel/subnet.env";
        let mut second = Agent::start(lab, host, &launch.arg(flag))?;
        second.ready()?;
        Ok(())
    })
}
