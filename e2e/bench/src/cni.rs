//! CNI ADD and DEL: our `bridge` + `host-local` against Debian's, and both against the floor.

use std::env;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::floor;
use crate::row::{Row, median};
use tweed_lab::cni::{GO_PLUGINS, OUR_PLUGINS};
use tweed_lab::topology::{Host, Topology};

/// Pods attached and detached by each side.
const ROUNDS: usize = 60;

/// One way to attach a pod.
struct Side {
    program: String,
    plugin: bool,
    add: Vec<Duration>,
    del: Vec<Duration>,
}

/// Measures.
///
/// # Errors
/// When a plugin fails.
pub fn run() -> Result<Vec<Row>> {
    let lab = Topology::hosts(1).build()?;
    let host = &lab.hosts[0];
    for name in ["bridge", "host-local"] {
        host.sh(&format!("ln -sfn tweed {OUR_PLUGINS}/{name}"))?;
    }
    for round in 0..=ROUNDS {
        for side in 0..3 {
            host.sh(&format!("ip netns add p{side}-{round}"))?;
        }
    }
    let myself = env::current_exe()?.display().to_string();
    let mut sides = [
        side(format!("{OUR_PLUGINS}/bridge"), true),
        side(format!("{GO_PLUGINS}/bridge"), true),
        side(myself, false),
    ];
    // The first round makes the bridge and warms caches.
    for round in 0..=ROUNDS {
        for (number, side) in sides.iter_mut().enumerate() {
            let (add, del) = measure(host, side, &format!("p{number}-{round}"), round)?;
            if round > 0 {
                side.add.push(add);
                side.del.push(del);
            }
        }
    }
    let [ours, go, bare] = sides.map(|side| (median(&side.add), median(&side.del)));
    Ok(vec![
        Row::at_most("CNI ADD", ours.0, ("Go plugins", go.0), 0.5),
        Row::at_most("CNI ADD", ours.0, ("bare netlink", bare.0), 1.5),
        Row::at_most("CNI DEL", ours.1, ("Go plugins", go.1), 1.0).without_goal(),
        Row::at_most("CNI DEL", ours.1, ("bare netlink", bare.1), 1.2),
    ])
}

fn side(program: String, plugin: bool) -> Side {
    Side {
        program,
        plugin,
        add: Vec::new(),
        del: Vec::new(),
    }
}

fn measure(host: &Host, side: &Side, netns: &str, round: usize) -> Result<(Duration, Duration)> {
    let netns = format!("/run/netns/{netns}");
    // One thread joins the host for both calls, so that the joining is not measured.
    host.place().run_processes(|| {
        let call = |verb: &str| {
            if side.plugin {
                plugin(&side.program, verb, &netns)
            } else {
                bare(&side.program, verb, &netns, round)
            }
        };
        Ok((call("ADD")?, call("DEL")?))
    })
}

fn plugin(program: &str, verb: &str, netns: &str) -> Result<Duration> {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "bridge",
        "bridge": "cni0",
        "mtu": 1450,
        "isGateway": true,
        "isDefaultGateway": true,
        "ipMasq": false,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.9.0/24" }]] },
    });
    let folder = program.trim_end_matches("/bridge");
    let mut command = Command::new(program);
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", netns.rsplit('/').next().unwrap_or("x"))
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", folder);
    timed(&mut command, &config.to_string())
}

fn bare(program: &str, verb: &str, netns: &str, round: usize) -> Result<Duration> {
    let mut command = Command::new(program);
    command.args([floor::COMMAND, verb, netns]);
    if verb == "ADD" {
        let addr = format!("10.244.9.{}/24", 100 + round);
        command.args([&format!("vethf{round}"), &addr, "10.244.9.1"]);
    }
    timed(&mut command, "")
}

fn timed(command: &mut Command, input: &str) -> Result<Duration> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let taken = start.elapsed();
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(taken)
}
