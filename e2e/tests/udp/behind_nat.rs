//! NAT between the hosts. The router holds it:
//!
//! ```text
//!  host1 198.18.0.1 ── seg0 ── 198.18.0.254, .77  router  198.18.1.254 ── seg1 ── host2 198.18.1.2
//! ```

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, config};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::raw::dropped;
use super::udp;

/// Where the router's NAT makes host 2 seem to be.
const OUTER: &str = "198.18.0.77";
/// How long the router remembers a flow.
const MEMORY: Duration = Duration::from_secs(3);

fn nft(lab: &Lab, rules: &str) -> Result<()> {
    let mut nft = std::process::Command::new("nft");
    lab.switch
        .place()
        .cmd_with(nft.args(["-f", "-"]), rules)
        .map(drop)
}

/// Datagrams that a named counter of the router has seen.
fn counted(lab: &Lab, counter: &str) -> Result<u64> {
    let line = format!("nft -j list counter ip outer {counter}");
    let answer: Value = serde_json::from_str(&lab.switch.place().sh(&line)?)?;
    let objects = answer["nftables"].as_array().into_iter().flatten();
    let mut packets = objects.filter_map(|object| object["counter"]["packets"].as_u64());
    packets.next().context("a counter counts packets")
}

/// Sends pings to which no answer may come.
fn ping_in_vain(from: &Pod<'_>, to: &Pod<'_>) -> Result<()> {
    for _ in 0..3 {
        let answered = traffic::ping(from.place(), to.v4()?);
        ensure!(answered.is_err(), "a ping came back");
    }
    Ok(())
}

/// What host 2 sends seems to come from `source`. Counts what host 1 sends to the announced address, and to `source`.
fn rewritten(source: &str, scenario: impl FnOnce(&Lab, &Cluster<'_>) -> Result<()>) -> Result<()> {
    Topology::on_segments(&[0, 1]).play(|lab| {
        let (addr, port) = source.split_once(':').context("an address and a port")?;
        nft(
            lab,
            &format!(
                "table ip outer {{
                    counter announced {{ }}
                    counter followed {{ }}
                    chain seen {{
                        type filter hook prerouting priority raw
                        iifname seg0 ip daddr 198.18.1.2 udp dport 8285 counter name announced
                        iifname seg0 ip daddr {addr} udp dport {port} counter name followed
                    }}
                    chain rewrite {{
                        type nat hook postrouting priority srcnat
                        oifname seg0 ip saddr 198.18.1.2 udp dport 8285 snat to {source}
                    }}
                }}"
            ),
        )?;
        // Probes would be packets of their own.
        let quiet = |launch: Launch| launch.arg("--probes=false");
        let cluster = Cluster::on_etcd_with(lab, &udp(&[Family::V4]), quiet)?;
        scenario(lab, &cluster)
    })
}

#[test]
fn a_peer_whose_address_is_rewritten_is_neither_accepted_nor_followed() -> Result<()> {
    rewritten("198.18.0.254:40000", |lab, cluster| {
        let ([one, two], agent) = (&cluster.pods[..], &cluster.agents[0]) else {
            anyhow::bail!("two pods");
        };
        // Host 2 first, so that its flow is the one which the router rewrites.
        let before = dropped(agent, "unknown_sender")?;
        ping_in_vain(two, one)?;
        let refused = dropped(agent, "unknown_sender")? - before;
        ensure!(refused == 3, "{refused} of three refused");
        ping_in_vain(one, two)?;
        let refused = dropped(agent, "unknown_sender")? - before;
        ensure!(
            refused == 6,
            "the answers to three are refused too: {refused}"
        );
        let sent = (counted(lab, "announced")?, counted(lab, "followed")?);
        ensure!(
            sent == (3, 0),
            "{sent:?} sent to the address announced and seen"
        );
        let status = agent.status()?;
        let peer = &status["data_plane"]["peers"][0];
        ensure!(peer["endpoint"] == "198.18.1.2:8285", "{status}");
        ensure!(peer["received"]["packets"] == 0, "{status}");
        Ok(())
    })
}

#[test]
fn a_peer_whose_port_is_rewritten_is_accepted_and_answered_at_the_networks_port() -> Result<()> {
    rewritten("198.18.1.2:40000", |lab, cluster| {
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for (from, to) in [(two, one), (one, two)] {
            traffic::ping(from.place(), to.v4()?)?;
        }
        let sent = (counted(lab, "announced")?, counted(lab, "followed")?);
        ensure!(
            sent == (2, 0),
            "{sent:?} sent to the port announced and seen"
        );
        Ok(())
    })
}

#[test]
fn a_node_behind_a_fixed_mapping_is_reached_as_long_as_keep_alives_hold_it_open() -> Result<()> {
    Topology::on_segments(&[0, 1]).play(|lab| {
        fix_mapping(lab)?;
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&udp(&[Family::V4]))?;
        let launches = [
            Launch::etcd().arg("--probes=false"),
            Launch::etcd()
                .arg("--probes=false")
                .arg(format!("--public-ip={OUTER}")),
        ];
        let agents = lab.hosts.iter().zip(&launches);
        let agents = agents.map(|(host, launch)| Agent::start(lab, host, launch));
        let mut agents = agents.collect::<Result<Vec<_>>>()?;
        for agent in &mut agents {
            agent.ready()?;
        }
        for agent in &agents {
            agent.sees(1)?;
        }
        let pod = |host| Runtime::tweed().pod(host);
        let (one, two) = (pod(&lab.hosts[0])?, pod(&lab.hosts[1])?);
        // From inside it always works, and opens the mapping.
        eventually("the node behind NAT reaches out", || {
            traffic::ping(two.place(), one.v4()?)
        })?;
        traffic::tcp(two.place(), one.place(), one.v4()?, 2 << 20)?;
        traffic::tcp(one.place(), two.place(), two.v4()?, 2 << 20)?;
        let status = agents[0].status()?;
        let peer = &status["data_plane"]["peers"][0];
        ensure!(peer["endpoint"] == format!("{OUTER}:8285"), "{status}");
        thread::sleep(MEMORY + Duration::from_secs(1));
        let forgotten = traffic::ping(one.place(), two.v4()?);
        ensure!(forgotten.is_err(), "this NAT does not forget");

        let backend = json!({ "Type": "udp", "KeepAlive": 1 });
        launches[0].set_config(lab, &config(&[Family::V4], &backend))?;
        eventually("a keep-alive opens it again", || {
            traffic::ping(one.place(), two.v4()?)
        })?;
        thread::sleep(MEMORY + Duration::from_secs(1));
        traffic::ping(one.place(), two.v4()?).context("held open")?;
        traffic::tcp(one.place(), two.place(), two.v4()?, 2 << 20)?;
        let refused = dropped(&agents[0], "unknown_sender")?;
        ensure!(refused == 0, "{refused} datagrams of another address");
        Ok(())
    })
}

/// Host 2 gets an address of its own outside, and the router lets in what belongs to a flow that host 2 began.
fn fix_mapping(lab: &Lab) -> Result<()> {
    let router = lab.switch.place();
    router.sh(&format!("ip addr add {OUTER}/32 dev seg0"))?;
    nft(
        lab,
        &format!(
            "table ip outer {{
                chain fixed {{
                    type nat hook postrouting priority srcnat
                    oifname seg0 ip saddr 198.18.1.2 udp sport 8285 snat to {OUTER}:8285
                }}
                chain uninvited {{
                    type filter hook input priority filter
                    ip daddr {OUTER} drop
                }}
            }}"
        ),
    )?;
    let seconds = MEMORY.as_secs();
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        router.sh(&format!(
            "sysctl -q -w net.netfilter.nf_conntrack_{timeout}={seconds}"
        ))?;
    }
    Ok(())
}
