//! What the running agent has given up.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_model::Family;

/// A line of every thread's status file.
fn of_all_threads(agent: &Agent<'_>, word: &str) -> Result<Vec<String>> {
    let threads = fs::read_dir(format!("/proc/{}/task", agent.pid()))?;
    let line = |thread: fs::DirEntry| -> Result<String> {
        let status = fs::read_to_string(thread.path().join("status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(word));
        Ok(value.context("no such line")?.trim().to_owned())
    };
    threads.flatten().map(line).collect()
}

#[test]
fn every_thread_of_the_agent_is_confined_and_status_says_so() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_files(lab, &vxlan())?;
        let agent = &cluster.agents[0];
        for (word, value) in [("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
            let found = of_all_threads(agent, word)?;
            ensure!(found.len() > 3, "{} threads", found.len());
            ensure!(found.iter().all(|found| found == value), "{word} {found:?}");
        }
        let all = json!(["no new privileges", "files", "system calls"]);
        ensure!(agent.status()?["sandbox"] == all, "{}", agent.status()?);
        // And it does its work.
        cluster.talks(Family::V4)?;
        cluster.agents[0].terminate()?;
        let open = Launch::file(lab).arg("--sandbox=false");
        let mut agent = Agent::start(lab, &lab.hosts[0], &open)?;
        agent.ready()?;
        ensure!(
            of_all_threads(&agent, "Seccomp:")?
                .iter()
                .all(|found| found == "0")
        );
        ensure!(agent.status()?["sandbox"] == json!([]));
        Ok(())
    })
}

#[test]
fn an_agent_that_places_no_plugins_has_no_way_to_write_where_they_are() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        // The lab's.
        fs::remove_file(host.path("/opt/cni/bin/tweed"))?;
        let init = lab.binaries.tweedd.display();
        host.sh(&format!("{init} install-cni --skip-conf"))?;
        let launch = launch.arg("--install-cni").arg("--cni-plugins=false");
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        tweed_lab::wait::eventually("the list is there", || {
            fs::read(host.path("/etc/cni/net.d/10-flannel.conflist")).map_err(Into::into)
        })?;
        // Nothing puts it back: the agent has no right to.
        fs::remove_file(host.path("/opt/cni/bin/flannel"))?;
        ensure!(
            agent.status()?["cni"]["error"].is_null(),
            "{}",
            agent.status()?
        );
        // One that is to place them, does.
        agent.terminate()?;
        let mut agent = Agent::start(lab, host, &Launch::file(lab).arg("--install-cni"))?;
        agent.ready()?;
        ensure!(host.path("/opt/cni/bin/flannel").is_symlink(), "not placed");
        Ok(())
    })
}
