//! Hindrances of pods' packets that other programs made: reported with the command that mends them, never edited.

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;
use tweed_model::Family;

fn warnings(agent: &Agent<'_>) -> Result<Vec<String>> {
    let status = agent.status()?;
    let warnings = status["warnings"].as_array().context("no warnings")?;
    let texts = warnings
        .iter()
        .filter_map(|warning| warning["text"].as_str());
    Ok(texts.map(str::to_owned).collect())
}

fn the_warning(agent: &Agent<'_>) -> Result<String> {
    eventually("the agent names it", || {
        let mut found = warnings(agent)?;
        ensure!(found.len() == 1, "{found:?}");
        Ok(found.remove(0))
    })
}

fn no_warnings(agent: &Agent<'_>) -> Result<()> {
    eventually("the warning is gone", || {
        let left = warnings(agent)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

#[test]
fn a_firewall_that_drops_pods_packets_is_named_with_the_commands_that_let_them_pass() -> Result<()>
{
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, agent) = (&lab.hosts[0], &cluster.agents[0]);
        host.sh("iptables-legacy -P FORWARD DROP")?;
        ensure!(cluster.talks(Family::V4).is_err(), "nothing is dropped");
        let text = the_warning(agent)?;
        ensure!(agent.metric("tweed_host_warnings{kind=\"forward\"}")? == 1.0);
        agent.logged(&["legacy iptables drops packets of pods"])?;
        let status = agent.status()?;
        ensure!(status["not_ready"] == serde_json::json!([text]), "{status}");
        let output = agent.command(&["status"])?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(words.contains(&text), "{words}");

        // What it says is what helps.
        let (_, commands) = text.split_once(": ").context("a command")?;
        for command in commands.split("; ") {
            host.sh(command)?;
        }
        cluster.talks(Family::V4)?;
        no_warnings(agent)
    })
}

#[test]
fn a_firewall_that_drops_what_comes_to_the_tunnels_port_makes_the_node_not_ready_until_the_command_is_run()
-> Result<()> {
    const FIREWALL: [&str; 3] = [
        "nft add table inet guard",
        "nft add chain inet guard in { type filter hook input priority 0 ; }",
        "nft add rule inet guard in udp dport 8472 drop",
    ];
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, agent) = (&lab.hosts[0], &cluster.agents[0]);
        ensure!(warnings(agent)?.is_empty(), "{:?}", warnings(agent)?);
        for command in FIREWALL {
            host.sh(command)?;
        }
        ensure!(cluster.talks(Family::V4).is_err(), "nothing is dropped");
        let text = the_warning(agent)?;
        ensure!(
            text.contains("chain in of nftables table inet guard"),
            "{text}"
        );
        ensure!(agent.metric("tweed_host_warnings{kind=\"input\"}")? == 1.0);
        agent.logged(&["UDP port 8472"])?;
        let status = agent.status()?;
        ensure!(status["not_ready"] == serde_json::json!([text]), "{status}");

        // What it says is what helps.
        let (_, command) = text.split_once(": ").context("a command")?;
        host.sh(command)?;
        cluster.talks(Family::V4)?;
        no_warnings(agent)?;
        ensure!(agent.status()?["ready"] == true);
        Ok(())
    })
}
