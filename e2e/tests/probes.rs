//! Peers that don't answer are found and named, with what it means.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, config, vxlan, vxlan_dual};
use tweed_lab::topology::Topology;
use tweed_lab::wait::{stays, timed};
use tweed_model::Family;

use crate::timed::pod_healing::shell;

/// A peer that stops answering is named within this time: a round, three attempts, and the machine's load.
const NOTICED: Duration = Duration::from_secs(25);
/// One that answers again.
const BACK: Duration = Duration::from_secs(10);

/// Whether this many peers are in this state, and no others.
fn are(agent: &Agent<'_>, state: &str, count: u64) -> Result<Value> {
    let status = agent.status()?;
    let states = &status["peer_states"];
    ensure!(*states == json!({ state: count }), "{states}");
    Ok(status)
}

fn all_answer(cluster: &Cluster<'_>) -> Result<()> {
    let others = cluster.agents.len() as u64 - 1;
    for agent in &cluster.agents {
        timed("the peers answer", NOTICED, || {
            are(agent, "ok", others).map(drop)
        })?;
    }
    Ok(())
}

/// The first bad peer of a status.
fn bad(status: &Value) -> Result<(String, String)> {
    let first = &status["bad_peers"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    Ok((
        text(&first["public"]["v4"])?,
        text(&first["probe"]["note"])?,
    ))
}

fn a_blocked_tunnel_is_named_on_both_sides(config: &Value, port: u16) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, config)?;
        all_answer(&cluster)?;
        let host = &lab.hosts[0];
        // Where no packet filter of the host says so.
        shell(
            host,
            &format!(
                "nft 'add table netdev wall; add chain netdev wall in {{ type filter hook ingress device eth0 priority 0; }}; \
                 add rule netdev wall in udp dport {port} drop'"
            ),
        )?;
        for (agent, peer) in cluster.agents.iter().zip([1, 0]) {
            let (status, took) = timed("it is noticed", NOTICED, || {
                are(agent, "no_answer_by_tunnel", 1)
            })?;
            println!("noticed within {took:.1?}");
            let (public, note) = bad(&status)?;
            ensure!(public == lab.hosts[peer].v4().to_string(), "{public}");
            ensure!(note.contains(&format!("UDP {port} blocked")), "{note}");
            // One peer says nothing about which side fails.
            ensure!(status["ready"] == true, "{}", status["not_ready"]);
            agent.logged(&["no answer by tunnel", &public])?;
        }
        host.sh("nft delete table netdev wall")?;
        for agent in &cluster.agents {
            timed("it is back", BACK, || are(agent, "ok", 1).map(drop))?;
        }
        Ok(())
    })
}

#[test]
fn a_blocked_vxlan_port_is_named_on_both_sides_and_its_end_noticed() -> Result<()> {
    a_blocked_tunnel_is_named_on_both_sides(&vxlan(), 8472)
}

#[test]
fn a_blocked_udp_port_is_named_on_both_sides_and_its_end_noticed() -> Result<()> {
    let udp = config(&[Family::V4], &json!({ "Type": "udp" }));
    a_blocked_tunnel_is_named_on_both_sides(&udp, 8285)
}

#[test]
fn a_node_whose_network_is_down_has_lost_all_others_and_is_not_ready_they_have_lost_one_and_are()
-> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        all_answer(&cluster)?;
        // The interface stays up: nothing on this host says that its network is gone.
        shell(
            &lab.hosts[0],
            "nft 'add table netdev wall; add chain netdev wall in { type filter hook ingress device eth0 priority 0; policy drop; }'",
        )?;
        let [alone, other, _] = &cluster.agents[..] else {
            anyhow::bail!("three agents");
        };
        timed("it has lost all", NOTICED, || {
            let status = are(alone, "no_answer", 2)?;
            let reasons = status["not_ready"].to_string();
            ensure!(reasons.contains("none of the 2 other nodes answers"), "{reasons}");
            Ok(())
        })?;
        timed("the others have lost one", NOTICED, || {
            let status = other.status()?;
            let states = &status["peer_states"];
            ensure!(*states == json!({ "ok": 1, "no_answer": 1 }), "{states}");
            ensure!(status["ready"] == true, "{}", status["not_ready"]);
            Ok(())
        })?;
        lab.hosts[0].sh("nft delete table netdev wall")?;
        timed("it is back", BACK, || {
            let status = are(alone, "ok", 2)?;
            ensure!(status["ready"] == true, "{}", status["not_ready"]);
            Ok(())
        })
        .map(drop)
    })
}

#[test]
fn a_path_that_lost_a_part_of_its_mtu_is_named_with_what_gets_through() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        all_answer(&cluster)?;
        // As on a path that swallows what is too large.
        shell(
            &lab.hosts[0],
            "nft 'add table netdev wall; add chain netdev wall in { type filter hook ingress device eth0 priority 0; }; \
             add rule netdev wall in meta length gt 1400 drop'",
        )?;
        let (status, _) = timed("it is noticed", Duration::from_secs(75), || {
            are(&cluster.agents[0], "mtu_reduced", 1)
        })?;
        let mtu = status["bad_peers"][0]["probe"]["mtu"].as_u64().context("no MTU")?;
        // 50 bytes are the tunnel's.
        ensure!((1346..=1350).contains(&mtu), "{mtu}");
        Ok(())
    })
}

#[test]
fn an_agent_without_the_right_to_raw_sockets_probes_where_systemds_default_is_set() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        for host in &lab.hosts {
            shell(
                host,
                "sysctl -q -w net.ipv4.ping_group_range='0 2147483647'",
            )?;
        }
        let only = "setpriv --bounding-set=-all,+net_admin --inh-caps=-all --no-new-privs";
        let launch = |launch: Launch| launch.through(only);
        let cluster = Cluster::on_etcd_with(lab, &vxlan_dual(), launch)?;
        all_answer(&cluster)?;
        Ok(())
    })
}

#[test]
fn healthy_hosts_have_no_false_alarm_under_load_and_their_doctors_find_nothing() -> Result<()> {
    for (config, family) in [(vxlan_dual(), Family::V6), (vxlan(), Family::V4)] {
        Topology::hosts(3).play(|lab| {
            let cluster = Cluster::on_files(lab, &config)?;
            all_answer(&cluster)?;
            cluster.talks(family)?;
            stays("all peers answer", Duration::from_secs(25), || {
                cluster
                    .agents
                    .iter()
                    .try_for_each(|agent| are(agent, "ok", 2).map(drop))
            })
        })?;
    }
    Ok(())
}
