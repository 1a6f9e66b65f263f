//! What must not grow: with the number of pods, of host ports, of addresses that are taken. And what a start costs.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tweed_lab::cni::OUR_PLUGINS;
use tweed_lab::topology::Host;

use super::chain::{Started, timed};
use super::configuration::{addresses, plain, ports};
use crate::row::{Row, median};

/// Pods of one node, at most.
const PODS: usize = 250;
/// Of which the first and the last are compared.
const SAMPLE: usize = 15;
/// Host ports of one node, put in portions.
const PORTS: usize = 5_000;
const PORTION: usize = 250;
/// Addresses of a /16 that are taken, in one piece, all of which are tried before the first that is free.
const TAKEN: u32 = 60_000;
/// Where they are, as the host sees it.
const RESERVED: &str = "/var/lib/cni/networks/bench";
/// What is flat may cost so many times what the first did.
const MORE: f64 = 1.2;

/// Pods up to 250 on one node, which then all go at once.
///
/// # Errors
/// When a plugin fails.
pub(super) fn pods(host: &Host) -> Result<Vec<Row>> {
    let chain = plain(OUR_PLUGINS, "10.66.0.0/16").with("fastDel", true.into());
    let pods: Vec<String> = (0..PODS).map(|number| format!("many-{number}")).collect();
    for pod in &pods {
        host.sh(&format!("ip netns add {pod}"))?;
    }
    let taken = host.place().run_processes(|| {
        pods.iter()
            .map(|pod| Ok(chain.add(pod)?.0))
            .collect::<Result<Vec<Duration>>>()
    })?;
    host.place().run_processes(|| chain.at_once("DEL", &pods))?;
    let begin = Instant::now();
    while host.sh("ip -br link")?.contains("gone") {
        ensure!(begin.elapsed() < Duration::from_secs(60), "links stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    let left = begin.elapsed().as_secs_f64();
    let (first, last) = (median(&taken[1..=SAMPLE]), median(&taken[PODS - SAMPLE..]));
    Ok(vec![
        Row::at_most(
            "CNI ADD, pods 236 to 250",
            last,
            ("pods 2 to 16", first),
            MORE,
        ),
        Row::below(
            "250 fast DELs at once, until no link is left",
            left,
            "s",
            2,
            2.0,
        ),
    ])
}

/// Host ports up to 5,000 on one node.
///
/// # Errors
/// When a plugin fails.
pub(super) fn host_ports(host: &Host) -> Result<Vec<Row>> {
    let one = |port: usize| ports(OUR_PLUGINS, "10.244.9.7", port..port + 1);
    let sample = |first: usize| -> Result<Duration> {
        let taken = (0..SAMPLE).map(|number| Ok(one(first + number).add(&format!("p{number}"))?.0));
        let taken = taken.collect::<Result<Vec<_>>>()?;
        for number in 0..SAMPLE {
            one(first + number).del(&format!("p{number}"), &serde_json::Value::Null)?;
        }
        Ok(median(&taken))
    };
    host.place().run_processes(|| {
        // The first makes the table.
        one(10_000).add("first")?;
        let few = sample(20_000)?;
        for first in (0..PORTS).step_by(PORTION) {
            let range = 30_000 + first..30_000 + first + PORTION;
            ports(OUR_PLUGINS, "10.244.9.8", range).add(&format!("many-{first}"))?;
        }
        let many = sample(20_000)?;
        Ok(vec![Row::at_most(
            "host port, the 5,000th",
            many,
            ("the second", few),
            MORE,
        )])
    })
}

/// An address in a network of which 60,000 are taken.
///
/// # Errors
/// When a plugin fails.
pub(super) fn address_search(host: &Host) -> Result<Vec<Row>> {
    let folder = host.path(RESERVED);
    fs::create_dir_all(&folder)?;
    let addr = |number: u32| std::net::Ipv4Addr::from(0x0a4d_0000 + number).to_string();
    let last = 65_534;
    let first = last - TAKEN;
    for number in first..=last {
        fs::write(
            folder.join(addr(number)),
            format!("container-{number}\r\neth0"),
        )?;
    }
    let chain = addresses(OUR_PLUGINS);
    let taken = host.place().run_processes(|| {
        let mut taken = Vec::new();
        for number in 0..SAMPLE {
            // This one gets the last address that is free before them, and reads what others have written.
            fs::write(format!("{RESERVED}/last_reserved_ip.0"), addr(first - 2))?;
            chain.add("before")?;
            taken.push(chain.add(&format!("more-{number}"))?.0);
            chain.del("before", &serde_json::Value::Null)?;
        }
        Ok(taken)
    })?;
    let found = median(&taken).as_secs_f64() * 1e3;
    Ok(vec![Row::below(
        "an address in a /16 with 60,000 taken",
        found,
        "ms",
        2,
        10.0,
    )])
}

/// The plugin's process beside one that does nothing.
///
/// # Errors
/// When it can't be started.
pub(super) fn start(host: &Host) -> Result<Vec<Row>> {
    let plugin = format!("{OUR_PLUGINS}/tweed");
    let once = |program: &str| -> Result<Duration> {
        let mut command = Command::new(program);
        command.env("CNI_COMMAND", "VERSION");
        Ok(timed(|| Started::new(&mut command, ""))?.0)
    };
    let (ours, empty) = host.place().run_processes(|| {
        let (mut ours, mut empty) = (Vec::new(), Vec::new());
        for _ in 0..10 * SAMPLE {
            ours.push(once(&plugin)?);
            empty.push(once("/bin/true")?);
        }
        Ok((median(&ours), median(&empty)))
    })?;
    let more = ours.saturating_sub(empty).as_secs_f64() * 1e3;
    Ok(vec![Row {
        other: format!("an empty process {}", tweed_lab::report::duration(empty)),
        ..Row::below(
            "plugin's start, more than an empty process",
            more,
            "ms",
            2,
            1.0,
        )
    }])
}
