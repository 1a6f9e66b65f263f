//! `bench dataplane soak`: everything at once for minutes. Memory must not grow and nothing may get stuck.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::iperf::Load;
use super::lost;
use super::paths::{Mode, Path};
use crate::process;
use crate::row::{Row, median};
use tweed_lab::flood::{self, Flood, MIXED};
use tweed_lab::topology::Lab;

/// How long, in seconds, unless it is said.
pub const SPAN: u32 = 600;
/// TCP connections in each direction.
const STREAMS: u32 = 4;
/// Small datagrams a second of each flow.
const RATE: u32 = 10_000;
/// Throughput is looked at over this long, in seconds.
const STEP: u32 = 10;
/// Resident memory may differ by this much from the first minute to the last, MiB.
const GROWTH: f64 = 1.0;

/// Figures of each second, or each step.
#[derive(Debug, Default)]
struct Seen {
    /// Resident memory of both agents, MiB.
    memory: Vec<[f64; 2]>,
    /// Small datagrams that arrived in a second.
    datagrams: Vec<f64>,
}

/// Loads backend `udp` for this many seconds, and says what came of it.
///
/// # Errors
/// When a path doesn't carry traffic, or an agent ends.
pub fn run(seconds: u32) -> Result<Vec<Row>> {
    let lab = Mode::Udp.lab()?;
    let path = Path::lay_out(Mode::Udp, &lab)?;
    let mut clients = [
        Client::start(&lab, &path, 0, seconds)?,
        Client::start(&lab, &path, 1, seconds)?,
    ];
    let flood = Flood {
        sizes: MIXED,
        rate: Some(RATE),
        ..Flood::small(4)
    };
    let running = flood.start(path.from(), path.to())?;
    let seen = watch(&path, &running, seconds)?;
    running.stop()?;
    let mut steps = Vec::new();
    for client in &mut clients {
        steps.push(client.steps(seconds)?);
    }
    // Something small must still pass.
    tweed_lab::traffic::all_reach_each_other(&path.pods, tweed_model::Family::V4)?;
    let mut rows = rows(&seen, &steps)?;
    rows.extend(counters(&path)?);
    Ok(rows)
}

fn watch(path: &Path<'_>, running: &flood::Running, seconds: u32) -> Result<Seen> {
    let mut seen = Seen::default();
    let start = Instant::now();
    let mut before = running.counts().1;
    for second in 1..=seconds {
        let due = Duration::from_secs(second.into());
        thread::sleep(due.saturating_sub(start.elapsed()));
        let memory = |index: usize| process::memory(path.agents[index].pid(), "VmRSS");
        seen.memory.push([memory(0)?, memory(1)?]);
        let now = running.counts().1;
        seen.datagrams.push((now - before) as f64);
        before = now;
        if second % 60 == 0 {
            eprintln!(
                "{second} of {seconds} s, memory {:?} MiB",
                [memory(0)?, memory(1)?]
            );
        }
    }
    Ok(seen)
}

fn rows(seen: &Seen, steps: &[Vec<f64>]) -> Result<Vec<Row>> {
    // The first seconds fill buffers that are there for good.
    let minute = 60.min(seen.memory.len() / 2);
    ensure!(minute > 0, "a soak takes two seconds at least");
    let mut rows = Vec::new();
    for index in 0..2 {
        let memory: Vec<_> = seen.memory.iter().map(|both| both[index]).collect();
        let (first, last) = (
            median(&memory[..minute]),
            median(&memory[memory.len() - minute..]),
        );
        rows.push(Row {
            what: format!("resident memory of agent {}, last minute", index + 1),
            ours: format!("{last:.1} MiB"),
            other: format!("first minute {first:.1} MiB"),
            ratio: format!("{:+.1} MiB", last - first),
            goal: format!("≤ + {GROWTH} MiB"),
            met: Some(last - first <= GROWTH),
        });
    }
    for (direction, steps) in ["there", "back"].into_iter().zip(steps) {
        rows.push(least(
            &format!("{STREAMS} TCP streams {direction}, slowest {STEP} s"),
            steps,
            "Gbit/s",
        ));
    }
    let datagrams: Vec<_> = seen.datagrams.iter().map(|count| count * 1e-3).collect();
    rows.push(least("small datagrams, slowest second", &datagrams, "kpps"));
    Ok(rows)
}

/// The least of what was carried, which must not be nothing.
fn least(what: &str, values: &[f64], unit: &str) -> Row {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    Row {
        what: what.to_owned(),
        ours: format!("{least:.2} {unit}"),
        other: format!("median {:.2} {unit}", median(values)),
        ratio: format!("{:.2}", least / median(values)),
        goal: "> 0".to_owned(),
        met: Some(least > 0.0),
    }
}

/// What the agents and the kernel have counted of what went wrong.
fn counters(path: &Path<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, (agent, host)) in path.agents.iter().zip(&path.lab.hosts).enumerate() {
        let status = agent.status()?;
        let plane = &status["data_plane"];
        let count = |direction: &str| plane[direction]["packets"].as_u64();
        let (sent, delivered) = (count("sent"), count("delivered"));
        let (sent, delivered) = sent
            .zip(delivered)
            .with_context(|| format!("status has no count of packets: {status}"))?;
        let queue = format!(
            "/sys/class/net/{}/statistics/tx_dropped",
            path.mode.device()
        );
        let queue = host.place().cmd(["cat", &queue])?;
        let socket = lost::full_buffers(host.place())?;
        rows.push(Row {
            what: format!("counted on host {}", index + 1),
            ours: format!("sent {sent}, delivered {delivered}"),
            other: format!(
                "dropped {}, errors {}, queue full {}, socket full {socket}",
                plane["dropped"],
                plane["errors"],
                queue.trim()
            ),
            ratio: String::new(),
            goal: "carries".to_owned(),
            met: Some(plane["error"].is_null()),
        });
    }
    Ok(rows)
}

/// iperf3 from one pod to the other.
struct Client {
    child: Child,
    report: std::path::PathBuf,
}

impl Client {
    fn start(lab: &Lab, path: &Path<'_>, from: usize, seconds: u32) -> Result<Self> {
        let (from, to) = (&path.pods[from], &path.pods[1 - from]);
        let words = Load::bulk(STREAMS, "cubic", seconds).words(to)?;
        let report = lab.folder.path().join(format!("soak-{}.json", from.id));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["-i", &STEP.to_string()]);
        command.stdin(Stdio::null()).stdout(File::create(&report)?);
        let child = from.place().spawn(&mut command)?;
        Ok(Self { child, report })
    }

    /// Gbit/s in each step.
    fn steps(&mut self, seconds: u32) -> Result<Vec<f64>> {
        let limit = Duration::from_secs(30);
        tweed_lab::wait::timed("iperf3 ends", limit, || {
            self.child.try_wait()?.context("it runs")
        })?;
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&self.report)?)?;
        ensure!(report["error"].is_null(), "iperf3: {}", report["error"]);
        let intervals = report["intervals"].as_array().context("no intervals")?;
        let rate = |interval: &Value| interval["sum"]["bits_per_second"].as_f64();
        let rates: Option<Vec<_>> = intervals.iter().map(rate).collect();
        let mut rates = rates.context("an interval without a rate")?;
        // The last one may be a fraction of a second.
        rates.truncate((seconds / STEP).max(1) as usize);
        Ok(rates.iter().map(|rate| rate * 1e-9).collect())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_a_step_without_traffic_are_misses() {
        let seen = Seen {
            memory: vec![[10.0, 10.0], [10.0, 12.0]],
            datagrams: vec![5.0, 5.0],
        };
        let rows = rows(&seen, &[vec![1.0, 2.0], vec![1.0, 0.0]]).unwrap();
        let met: Vec<_> = rows.iter().map(|row| row.met.unwrap()).collect();
        assert_eq!(met, [true, false, true, false, true]);
    }
}
