//! CNI ADD and DEL: our plugins against Go's, and both against the floor. In turns, since the machine is never the same for
//! long.

mod chain;
mod configuration;
mod flat;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tweed_lab::cni::OUR_PLUGINS;
use tweed_lab::topology::{Host, Topology};

use crate::floor;
use crate::row::{Row, median};
use chain::{Chain, Started, timed};

/// Pods attached and detached by each side.
const ROUNDS: usize = 60;
/// The same of what takes longer.
const FEWER: usize = 30;
/// So many calls at once.
const AT_ONCE: usize = 8;

/// One side's times.
#[derive(Default)]
struct Times {
    add: Vec<Duration>,
    del: Vec<Duration>,
}

impl Times {
    fn medians(&self) -> (Duration, Duration) {
        (median(&self.add), median(&self.del))
    }

    /// Pods in a second.
    fn rates(&self) -> (f64, f64) {
        let rate = |times: &[Duration]| AT_ONCE as f64 / median(times).as_secs_f64();
        (rate(&self.add), rate(&self.del))
    }
}

/// Measures, beside the Go plugins of a folder.
///
/// # Errors
/// When a plugin fails.
pub fn run(go: &str) -> Result<Vec<Row>> {
    let lab = Topology::hosts(1).build()?;
    let host = &lab.hosts[0];
    for name in ["bridge", "host-local", "portmap", "bandwidth", "tuning"] {
        host.sh(&format!("ln -sfn tweed {OUR_PLUGINS}/{name}"))?;
    }
    let mut rows = flat::start(host)?;
    rows.extend(plain(host, go)?);
    rows.extend(full(host, go)?);
    rows.extend(at_once(host, go)?);
    rows.extend(flat::host_ports(host)?);
    rows.extend(flat::pods(host)?);
    // Last: what it writes stays in the way of every look for an address.
    rows.extend(flat::address_search(host)?);
    Ok(rows)
}

/// A pod in a bridge and nothing else.
fn plain(host: &Host, go: &str) -> Result<Vec<Row>> {
    let subnet = "10.244.9.0/24";
    let ours = configuration::plain(OUR_PLUGINS, subnet);
    let fast = ours.with("fastDel", true.into());
    let theirs = configuration::plain(go, subnet);
    let chains = [&ours, &fast, &theirs].map(|chain| move |_| chain.clone());
    let ([ours, fast, go], bare) = in_turns(host, ROUNDS, chains, &[])?;
    let ((add, del), (_, fast_del)) = (ours.medians(), fast.medians());
    let ((go_add, go_del), (bare_add, bare_del)) = (go.medians(), bare.medians());
    Ok(vec![
        Row::at_most("CNI ADD", add, ("Go plugins", go_add), 0.5),
        Row::at_most("CNI ADD", add, ("bare netlink", bare_add), 1.5),
        Row::at_most("CNI DEL", del, ("Go plugins", go_del), 1.0).without_goal(),
        Row::at_most("CNI DEL", del, ("bare netlink", bare_del), 1.2),
        Row::at_most("CNI fast DEL", fast_del, ("Go plugins", go_del), 1.0 / 15.0),
    ])
}

/// With a host port, limits and a switch.
fn full(host: &Host, go: &str) -> Result<Vec<Row>> {
    let ours = |number| configuration::whole(OUR_PLUGINS, number);
    let fast = |number| ours(number).with("fastDel", true.into());
    let theirs = |number| configuration::full(go, number);
    let chains: [&(dyn Fn(usize) -> Chain + Sync); 3] = [&ours, &fast, &theirs];
    let ([ours, fast, go], bare) = in_turns(host, FEWER, chains, &["limited"])?;
    let ((add, del), (_, fast_del)) = (ours.medians(), fast.medians());
    let ((go_add, go_del), (bare_add, bare_del)) = (go.medians(), bare.medians());
    let row = |what: &str, ours, other, most| {
        let what = format!("CNI {what} with port, limits, switch");
        Row::at_most(&what, ours, other, most)
    };
    Ok(vec![
        row("ADD", add, ("Go plugins", go_add), 1.0 / 7.0),
        row("ADD", add, ("bare netlink", bare_add), 1.3),
        row("DEL", del, ("Go plugins", go_del), 1.0 / 3.0),
        row("DEL", del, ("bare netlink", bare_del), 1.2),
        row("fast DEL", fast_del, ("Go plugins", go_del), 1.0 / 15.0),
    ])
}

/// Attaches and detaches a pod by each side in each round, and by the floor.
fn in_turns<F: Fn(usize) -> Chain + Sync>(
    host: &Host,
    rounds: usize,
    chains: [F; 3],
    more: &[&str],
) -> Result<([Times; 3], Times)> {
    let mut times = [Times::default(), Times::default(), Times::default()];
    let mut bare = Times::default();
    let myself = env::current_exe().context("the path of this program")?;
    // The first round makes the bridge and warms caches.
    for round in 0..=rounds {
        for (side, chain) in chains.iter().enumerate() {
            let netns = pod(host, side)?;
            // One thread joins the host for both calls, so that the joining is not measured.
            let (add, del) = host.place().run_processes(|| {
                let chain = chain(round);
                let (add, result) = chain.add(&netns)?;
                Ok((add, chain.del(&netns, &result)?))
            })?;
            if round > 0 {
                times[side].add.push(add);
                times[side].del.push(del);
            }
        }
        let netns = pod(host, chains.len())?;
        let (add, del) = host
            .place()
            .run_processes(|| by_floor(&myself, &netns, round, more))?;
        if round > 0 {
            bare.add.push(add);
            bare.del.push(del);
        }
    }
    Ok((times, bare))
}

/// A new namespace, in place of the one before: the kernel removes that behind.
fn pod(host: &Host, side: usize) -> Result<String> {
    let name = format!("pod-{side}");
    let _ = host.sh(&format!("ip netns del {name}"));
    host.sh(&format!("ip netns add {name}"))?;
    Ok(name)
}

fn by_floor(
    myself: &Path,
    netns: &str,
    round: usize,
    more: &[&str],
) -> Result<(Duration, Duration)> {
    let call = |words: &[&str]| -> Result<Duration> {
        let mut command = Command::new(myself);
        command.arg(floor::COMMAND).args(words).args(more);
        Ok(timed(|| Started::new(&mut command, ""))?.0)
    };
    let (netns, veth) = (format!("/run/netns/{netns}"), format!("vethf{round}"));
    let addr = format!("10.244.9.{}/24", 100 + round);
    let add = call(&["ADD", &netns, &veth, &addr, "10.244.9.1"])?;
    Ok((add, call(&["DEL", &netns, &veth])?))
}

/// Eight pods at a time.
fn at_once(host: &Host, go: &str) -> Result<Vec<Row>> {
    let subnet = "10.244.9.0/24";
    let ours = configuration::plain(OUR_PLUGINS, subnet);
    let fast = ours.with("fastDel", true.into());
    let sides = [ours, fast, configuration::plain(go, subnet)];
    let mut times = [Times::default(), Times::default(), Times::default()];
    for round in 0..=FEWER / 2 {
        for (side, chain) in sides.iter().enumerate() {
            let pods: Vec<String> = (0..AT_ONCE)
                .map(|number| pod(host, 10 * (side + 1) + number))
                .collect::<Result<_>>()?;
            let (add, del) = host.place().run_processes(|| {
                Ok((chain.at_once("ADD", &pods)?, chain.at_once("DEL", &pods)?))
            })?;
            if round > 0 {
                times[side].add.push(add);
                times[side].del.push(del);
            }
        }
    }
    let [ours, fast, go] = times.map(|times| times.rates());
    let row = |what: &str, ours, go, least| {
        let what = format!("{AT_ONCE} CNI {what} at once");
        Row::at_least(&what, ours, ("Go plugins", go), "/s", least)
    };
    Ok(vec![
        row("ADDs", ours.0, go.0, 4.0),
        row("DELs", ours.1, go.1, 1.0).without_goal(),
        row("fast DELs", fast.1, go.1, 4.0),
    ])
}
