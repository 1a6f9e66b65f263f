//! Kernels that lack an offload from the start, and one that gives super-packets and takes none.

use anyhow::{Context, Result, bail, ensure};
use nix::libc::{TUN_F_CSUM, TUN_F_USO4, TUN_F_USO6, UDP_GRO, UDP_SEGMENT};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, config};
use tweed_lab::refusal::Refusal;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_model::Family;

use super::fallback::five_at_once;
use super::raw::dropped;
use super::trouble::words;

const OFFLOADS: [&str; 4] = ["receive", "send", "tcp", "udp"];
/// What the log says of each that is missing from the start.
const MISSING: &str = "this kernel does not take this work from the data plane";

/// Agents that are refused this carry everything all the same, and say that they lack these offloads. What they tell of
/// what they have carried is looked at as well.
fn carried_without(
    refusal: &Refusal,
    workers: u8,
    lacks: &[&str],
    look: impl Fn(&Agent<'_>, &Value) -> Result<()>,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let refusing = |launch: Launch| launch.refusing(refusal.clone());
        let options = config(&Family::BOTH, &json!({ "Type": "udp", "Workers": workers }));
        let cluster = Cluster::on_files_with(lab, &options, refusing)?;
        let [one, two] = &cluster.pods[..] else {
            bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            for (from, to) in [(one, two), (two, one)] {
                let addr = to.addr(family)?;
                for _ in 0..10 {
                    five_at_once(from, to, family)?;
                }
                traffic::tcp(from.place(), to.place(), addr, 4 << 20)?;
                traffic::ping_size(from.place(), addr, 1452)?;
            }
        }
        for agent in &cluster.agents {
            says_what_it_lacks(agent, lacks)?;
            let status = agent.status()?;
            let plane = &status["data_plane"];
            for at in ["send", "write"] {
                ensure!(plane["errors"][at] == 0, "{status}");
            }
            for reason in ["offload", "checksum", "length"] {
                ensure!(dropped(agent, reason)? == 0, "{status}");
            }
            look(agent, plane).with_context(|| status.to_string())?;
        }
        Ok(())
    })
}

/// Status and metrics show the offloads that are missing, and those that are not.
fn says_what_it_lacks(agent: &Agent<'_>, lacks: &[&str]) -> Result<()> {
    let status = agent.status()?;
    for offload in OFFLOADS {
        let has = !lacks.contains(&offload);
        ensure!(status["data_plane"]["offloads"][offload] == has, "{status}");
        let metric = format!(r#"tweed_data_plane_offload{{offload="{offload}"}}"#);
        let told = agent.metric(&metric)?;
        ensure!(told == f64::from(u8::from(has)), "{offload}: {told}");
    }
    let text = words(agent)?;
    let line = format!(
        "offloads that the kernel does not have: {}",
        lacks.join(", ")
    );
    ensure!(text.lines().any(|said| said.trim() == line), "{text}");
    Ok(())
}

/// The log names each of these once, and no other.
fn logged_once(agent: &Agent<'_>, lacks: &[&str]) -> Result<()> {
    let log = agent.log()?;
    let told: Vec<&str> = log.lines().filter(|line| line.contains(MISSING)).collect();
    for offload in lacks {
        let named = told.iter().filter(|line| line.contains(offload)).count();
        ensure!(named == 1, "{offload} is named {named} times: {told:?}");
    }
    ensure!(told.len() == lacks.len(), "{told:?}");
    Ok(())
}

fn count(value: &Value) -> Result<u64> {
    value.as_u64().context("a count")
}

/// Whether packets of a direction went one by one; else several did at once.
fn one_by_one(plane: &Value, direction: &str) -> Result<bool> {
    let (packets, calls) = (
        count(&plane[direction]["packets"])?,
        count(&plane[direction]["calls"])?,
    );
    ensure!(packets > 5000, "{packets} packets {direction}");
    Ok(packets == calls)
}

#[test]
fn a_kernel_that_gives_no_several_datagrams_at_once_is_asked_for_one_after_the_other() -> Result<()>
{
    let (refusal, lacks) = (Refusal::of_udp_option(UDP_GRO), ["receive"]);
    carried_without(&refusal, 1, &lacks, |agent, plane| {
        for peer in plane["peers"].as_array().context("peers")? {
            ensure!(one_by_one(peer, "received")?, "several at once");
        }
        ensure!(!one_by_one(plane, "sent")?, "more than that is missing");
        ensure!(!one_by_one(plane, "delivered")?, "they can be joined");
        logged_once(agent, &lacks)
    })
}

#[test]
fn a_kernel_that_never_took_several_datagrams_at_once_is_never_given_them() -> Result<()> {
    let (refusal, lacks) = (Refusal::of_udp_option(UDP_SEGMENT), ["send"]);
    carried_without(&refusal, 1, &lacks, |agent, plane| {
        ensure!(one_by_one(plane, "sent")?, "several at once");
        ensure!(!one_by_one(plane, "delivered")?, "they can be joined");
        let log = agent.log()?;
        let tried = log.contains("the uplink takes no several datagrams at once");
        ensure!(!tried, "it was tried:\n{log}");
        logged_once(agent, &lacks)
    })
}

#[test]
fn a_device_without_super_packets_of_udp_still_has_those_of_tcp() -> Result<()> {
    let refusal = Refusal::of_tun_offloads(TUN_F_USO4 | TUN_F_USO6);
    for workers in [1, 2] {
        let lacks = ["udp"];
        carried_without(&refusal, workers, &lacks, |agent, plane| {
            ensure!(!one_by_one(plane, "sent")?, "more than that is missing");
            ensure!(!one_by_one(plane, "delivered")?, "none of TCP either");
            logged_once(agent, &lacks)
        })?;
    }
    Ok(())
}

#[test]
fn a_device_without_any_super_packets_gives_and_takes_packets_one_by_one() -> Result<()> {
    let refusal = Refusal::of_tun_offloads(TUN_F_CSUM);
    for workers in [1, 2] {
        let lacks = ["tcp", "udp"];
        carried_without(&refusal, workers, &lacks, |agent, plane| {
            ensure!(one_by_one(plane, "delivered")?, "some were joined");
            ensure!(plane["singly"]["delivered"] == 0, "some were cut again");
            logged_once(agent, &lacks)
        })?;
    }
    Ok(())
}

#[test]
fn a_device_that_refuses_what_was_joined_gets_it_cut_again_and_soon_nothing_joined() -> Result<()> {
    // What is not joined has two parts: its virtio-net header, and itself.
    let refusal = Refusal::of_writes_in_parts(2);
    carried_without(&refusal, 1, &["tcp", "udp"], |agent, plane| {
        let again = count(&plane["singly"]["delivered"])?;
        let delivered = count(&plane["delivered"]["packets"])?;
        ensure!(again >= 16, "eight of each kind, but {again}");
        ensure!(20 * again < delivered, "{again} of {delivered} packets");
        logged_once(agent, &[])?;
        let log = agent.log()?;
        let told = log.matches("the kernel refuses super-packets on the TUN device");
        ensure!(told.count() == 2, "once for each kind:\n{log}");
        Ok(())
    })
}
