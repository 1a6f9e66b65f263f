//! A node on which nothing happens costs next to nothing: its agent sleeps.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, config, vxlan, vxlan_dual};
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// Every period of the agent but those of minutes has come round by then.
const LASTS: Duration = Duration::from_secs(30);
/// What follows a start, or the loss of the store, is over by then.
const SETTLES: Duration = Duration::from_secs(5);
/// Of all threads of an agent, in a minute. The file store is read again each ten seconds, and its threads live about as
/// long: whether one lives on is some forty of these.
const SELDOM: u64 = 240;
/// The same with etcd, whose connection is kept and which is asked again and again. A loop that finds something due each
/// time makes twice as many.
const WITH_ETCD: u64 = 600;
/// The same where something is looked for twice a second, of which each look is some wake-ups.
const LOOKING: u64 = 1_500;
/// Share of a processor, in a build without optimization. A loop that never sleeps takes all of one.
const BUSY: f64 = 0.03;

/// What an agent has done so far.
#[derive(Default)]
struct Done {
    /// How often its threads have gone to sleep, by the thread's name.
    sleeps: BTreeMap<String, u64>,
    /// Processor time in seconds.
    busy: f64,
}

impl Done {
    fn of(agent: &Agent<'_>) -> Result<Self> {
        let mut done = Self::default();
        for thread in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
            let folder = thread?.path();
            // A thread of the pool may end meanwhile.
            let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            let status = read("status");
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let count = count.map_or(Ok(0), |count| count.trim().parse::<u64>());
            let name = read("comm").trim().to_owned();
            *done.sleeps.entry(name).or_default() += count?;
            let nanos = read("schedstat");
            let nanos = nanos.split(' ').next().unwrap_or_default();
            done.busy += nanos.parse::<f64>().unwrap_or_default() * 1e-9;
        }
        Ok(done)
    }
}

fn wakes_seldom(agent: &Agent<'_>, most: u64) -> Result<()> {
    thread::sleep(SETTLES);
    let before = Done::of(agent)?;
    thread::sleep(LASTS);
    let after = Done::of(agent)?;
    let times = |name: &String, count: &u64| {
        let before = before.sleeps.get(name).copied().unwrap_or_default();
        count.saturating_sub(before) * 60 / LASTS.as_secs()
    };
    let each = after.sleeps.iter();
    let each = each.map(|(name, count)| (name, times(name, count)));
    let each: BTreeMap<&String, u64> = each.filter(|(_, times)| *times > 0).collect();
    let sum: u64 = each.values().sum();
    let busy = (after.busy - before.busy) / LASTS.as_secs_f64();
    let told = format!("{sum} wake-ups a minute: {each:?}; {busy:.4} of a processor");
    println!("{told}");
    ensure!(sum <= most, "{told}");
    ensure!(busy <= BUSY, "{told}");
    Ok(())
}

fn on_files(config: &Value) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_files(lab, config)?;
        let agent = &mut cluster.agents[0];
        agent.ready()?;
        wakes_seldom(agent, SELDOM)?;
        agent.ready().context("it still works").map(drop)
    })
}

#[test]
fn an_agent_with_nothing_to_do_wakes_less_than_four_times_a_second() -> Result<()> {
    on_files(&vxlan())?;
    on_files(&vxlan_dual())
}

/// With workers and CNI files, and then without its store.
#[test]
fn an_agent_with_all_that_it_can_look_after_sleeps_and_one_without_its_store_does() -> Result<()> {
    let udp = config(&[Family::V4], &serde_json::json!({ "Type": "udp" }));
    Topology::hosts(2).play(|lab| {
        let all = |launch: Launch| launch.arg("--install-cni").arg("--cni-plugins=false");
        let mut cluster = Cluster::on_etcd_with(lab, &udp, all)?;
        cluster.agents[0].ready()?;
        wakes_seldom(&cluster.agents[0], WITH_ETCD)?;
        cluster.etcd()?.stop()?;
        wakes_seldom(&cluster.agents[0], WITH_ETCD)
    })
}

#[test]
fn an_agent_whose_port_is_taken_sleeps_between_its_attempts() -> Result<()> {
    let udp = config(&[Family::V4], &serde_json::json!({ "Type": "udp" }));
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let taken = SocketAddr::new(host.v4(), 8285);
        let _taken = host.place().run(|| Ok(UdpSocket::bind(taken)?))?;
        let launch = Launch::file(lab);
        launch.set_config(lab, &udp)?;
        let agent = Agent::start(lab, host, &launch)?;
        eventually("it has found its port taken", || {
            let reasons = agent.status()?["not_ready"].to_string();
            ensure!(reasons.contains("does flanneld run?"), "{reasons}");
            Ok(())
        })?;
        wakes_seldom(&agent, LOOKING)
    })
}

#[test]
fn an_agent_that_has_lost_its_uplink_sleeps_between_its_looks_for_one() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_files(lab, &vxlan())?;
        let agent = &mut cluster.agents[0];
        agent.ready()?;
        agent.host().sh("ip addr flush dev eth0")?;
        eventually("it has lost its uplink", || {
            agent.logged(&["the uplink can't be used now"]).map(drop)
        })?;
        wakes_seldom(agent, LOOKING)
    })
}

#[test]
fn an_agent_that_waits_for_its_first_answer_sleeps() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        wakes_seldom(&agent, WITH_ETCD)
    })
}
