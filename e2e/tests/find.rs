//! A command finds the agent that it is about: the one that runs, else the one that has run, else the one of the unit's
//! file. Nobody types the agent's flags again.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::{Launch, config, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// A command without any flag about the agent.
fn tweedd(lab: &Lab, line: &str) -> Result<Output> {
    let mut command = Command::new(&lab.binaries.tweedd);
    command.args(line.split(' '));
    lab.hosts[0].place().output(&mut command, "")
}

fn says(lab: &Lab, line: &str, code: i32, words: &str) -> Result<String> {
    let output = tweedd(lab, line)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(code), "{line}: {output:?}");
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(all.contains(words), "{line}: {words:?} is not in {all}");
    Ok(text)
}

#[test]
fn a_command_finds_its_agent_whatever_its_prefix_and_uplink() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        let prefix = "/elsewhere/network";
        etcd.put(&format!("{prefix}/config"), &vxlan().to_string())?;
        let clean = observe::snapshot(&lab.hosts[0])?;
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd_at(prefix))?;
        agent.ready()?;
        let subnet = agent.subnet(Family::V4)?.to_string();
        says(lab, "status", 0, &subnet)?;
        says(lab, "plan", 0, "")?;
        says(lab, "leases list", 0, &subnet)?;
        says(lab, "config get", 0, "10.244.0.0/16")?;
        says(lab, "confirm", 1, "no deletions are held back")?;
        says(lab, "docker-opts", 0, "")?;
        let options = fs::read_to_string(lab.hosts[0].path("/run/docker_opts.env"))?;
        ensure!(options.contains("--mtu=1450"), "{options}");

        agent.terminate()?;
        says(lab, "status", 1, &subnet)?;
        // The uplink that it had is none any more; another one would be chosen now.
        lab.hosts[0].sh("ip link add other type veth peer name another")?;
        lab.hosts[0].sh("ip addr add 203.0.113.1/24 dev other")?;
        lab.hosts[0].sh("ip link set other up")?;
        lab.hosts[0].sh("ip link set another up")?;
        lab.hosts[0].sh("ip route replace default via 203.0.113.2 dev other")?;
        says(lab, "cleanup --dry-run", 0, "flannel.1")?;
        says(lab, "cleanup", 0, "flannel.1")?;
        lab.hosts[0].sh("ip link del other")?;
        lab.hosts[0].sh(&format!(
            "ip route add default via {}",
            Lab::gateway(0).v4.context("IPv4")?
        ))?;
        let mut left = observe::difference(&clean, &observe::snapshot(&lab.hosts[0])?);
        // Forwarding stays on: others may rely on it.
        left.retain(|line| {
            !line.contains("forward") && !line.contains("224.0.0.") && !line.contains("ff0")
        });
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    })
}

#[test]
fn with_an_agent_that_hangs_commands_go_by_its_files_and_say_so_within_a_few_seconds() -> Result<()>
{
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        agent.ready()?;
        let subnet = agent.subnet(Family::V4)?.to_string();
        agent.signal(nix::sys::signal::Signal::SIGSTOP)?;
        let began = std::time::Instant::now();
        let text = says(lab, "status", 1, "does not answer")?;
        ensure!(text.contains(&subnet) && text.contains("pid "), "{text}");
        ensure!(!text.contains("127.0.0.1"), "another store: {text}");
        says(lab, "leases list", 0, &subnet)?;
        says(lab, "leases list", 0, "does not answer")?;
        says(lab, "config get", 0, "10.244.0.0/16")?;
        says(lab, "plan", 0, "does not answer")?;
        says(lab, "confirm", 1, "does not answer")?;
        let took = began.elapsed();
        ensure!(
            took < Duration::from_secs(6 * 5),
            "six commands took {took:?}"
        );
        agent.signal(nix::sys::signal::Signal::SIGCONT)?;
        says(lab, "status", 0, "in sync")?;
        Ok(())
    })
}

#[test]
fn of_two_agents_a_command_wants_to_know_which_and_the_units_file_names_one_that_never_ran()
-> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        // Nothing has run here: the unit's file says where the store is.
        fs::create_dir_all(host.path("/etc/tweed"))?;
        let file = host.path("/etc/tweed/tweedd.env");
        let text = format!("# comment\nTWEED_ETCD_ENDPOINTS='{}'\n", Etcd::endpoint());
        fs::write(&file, text)?;
        says(lab, "config get", 0, "10.244.0.0/16")?;
        says(lab, "leases list", 0, "no leases")?;

        let mut first = Agent::start(lab, host, &Launch::etcd())?;
        first.ready()?;
        let second = serde_json::json!({ "Type": "vxlan", "VNI": 2, "Port": 8473 });
        let mut second = config(&[Family::V4], &second);
        second["Network"] = "10.99.0.0/16".into();
        second["SubnetMax"] = "10.99.9.0".into();
        etcd.put("/second/config", &second.to_string())?;
        let launch = Launch::etcd_at("/second")
            .instance(1)
            .arg("--instance=second");
        let mut other = Agent::start(lab, host, &launch)?;
        other.ready()?;
        for line in ["status", "plan", "leases list", "cleanup --dry-run"] {
            let output = tweedd(lab, line)?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(64), "{line}: {output:?}");
            for words in ["--instance=tweed:", "--instance=second:", "/second", PREFIX] {
                ensure!(text.contains(words), "{line}: {words} is not in {text}");
            }
        }
        says(lab, "status --instance=second", 0, "10.99.")?;
        says(lab, "leases list --instance=second", 0, "10.99.")?;
        says(
            lab,
            "status --etcd-prefix=/second --instance=second",
            0,
            "10.99.",
        )?;
        says(lab, "status --instance=tweed", 0, "10.244.")?;
        Ok(())
    })
}

#[test]
fn status_lists_the_peers_and_why_one_is_none() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let subnet = cluster.agents[1].subnet(Family::V4)?.to_string();
        let stranger = r#"{"PublicIP":"198.18.0.77","BackendType":"host-gw"}"#;
        let key = format!("{PREFIX}/subnets/10.244.222.0-24");
        cluster.etcd()?.put(&key, stranger)?;
        let list = eventually("both are listed", || {
            let text = says(lab, "status --peers --output=json", 0, "")?;
            let status: Value = serde_json::from_str(&text)?;
            let list = status["peer_list"].as_array().context("a list")?.clone();
            ensure!(list.len() == 2, "{status}");
            Ok(list)
        })?;
        let (refused, peer) = (&list[0], &list[1]);
        ensure!(refused["state"] == "refused", "{refused}");
        ensure!(
            refused["reason"].to_string().contains("host-gw"),
            "{refused}"
        );
        ensure!(
            peer["state"] == "peer" && peer["backend"] == "vxlan",
            "{peer}"
        );
        ensure!(peer.to_string().contains(&subnet), "{peer}");
        ensure!(peer["seen"].as_u64().is_some(), "{peer}");
        let text = says(lab, "status --peers", 0, "SINCE")?;
        ensure!(text.contains(&subnet), "{text}");
        let plain: Value = serde_json::from_str(&says(lab, "status -o json", 0, "")?)?;
        ensure!(
            plain["peers"] == 1 && plain["peer_list"].is_null(),
            "{plain}"
        );
        Ok(())
    })
}

#[test]
fn an_emptied_run_folder_comes_back_and_no_second_agent_starts() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        agent.ready()?;
        let empty = ["sh", "-c", "rm -rf /run/tweed/*"];
        host.place().cmd(empty)?;
        let mut second = Agent::start(lab, host, &Launch::etcd())?;
        let (status, _) = second.ended(Duration::from_secs(10))?;
        ensure!(!status.success(), "a second agent has run");
        agent.logged(&["another tweedd"])?;
        host.place().cmd(empty)?;
        eventually("lock and socket are back", || {
            says(lab, "status", 0, "ready    yes")?;
            ensure!(host.path("/run/tweed/tweed.lock").exists(), "no lock");
            Ok(())
        })
    })
}
