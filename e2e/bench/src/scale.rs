//! How the cost grows: the agent with 5,000 and 20,000 leases in etcd, beside bare netlink, and beside flanneld where one is
//! given.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tweed_lab::agent::Agent;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::report;
use tweed_lab::topology::{Host, Lab, Topology, UPLINK};
use tweed_netlink::Netlink;

use crate::agent::{announce, answering, bare, new_lease, peer, programmed};
use crate::answering::Answering;
use crate::process;
use crate::row::{Row, median};

/// A number of leases, and what is aimed at with so many.
struct Size {
    leases: usize,
    /// From the start of the process to the last route.
    start: Duration,
    /// Resident, MiB.
    memory: f64,
    /// A full pass that finds nothing to do.
    pass: Duration,
}

const SIZES: [Size; 2] = [
    Size {
        leases: 5_000,
        start: Duration::from_millis(300),
        memory: 16.0,
        pass: Duration::from_millis(100),
    },
    Size {
        leases: 20_000,
        start: Duration::from_millis(1_500),
        memory: 40.0,
        pass: Duration::from_millis(100),
    },
];
/// As few leases as a small cluster has: what a new one costs among many is measured by that.
const FEW: usize = 5;
/// A new lease among many costs at most so many times what it costs among few.
const MORE: f64 = 1.2;
/// Cold starts, new leases and passes of which the median counts.
const STARTS: usize = 3;
const NEWS: usize = 20;
/// New leases come so far apart that none meets the full pass that follows the one before.
const APART: Duration = Duration::from_secs(1);
const PASSES: usize = 5;
/// Until memory and processor time are measured: the thread that saved the peers is gone by then, and the memory of passes
/// that came one after the other is given back, which is done three times a minute at most.
const QUIET: Duration = Duration::from_secs(75);
/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(30);
/// One in so many routes is looked for while a process starts: a dump of all would take the time that it needs.
const SAMPLE: usize = 100;

/// Measures. `flanneld` is the program to measure beside.
///
/// # Errors
/// When an agent does not come up.
pub fn run(flanneld: Option<&Path>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for size in &SIZES {
        rows.extend(measure(size, flanneld)?);
    }
    Ok(rows)
}

/// What was measured of one program.
struct Figures {
    start: Duration,
    few: Duration,
    news: Duration,
    memory: f64,
    /// Percent of a core.
    idle: f64,
}

/// A full pass that finds nothing to do: how long it takes, and what processor time.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Pass {
    took: Duration,
    used: Duration,
}

fn measure(size: &Size, flanneld: Option<&Path>) -> Result<Vec<Row>> {
    let lab = Topology::hosts(2).build()?;
    let etcd = Etcd::start(&lab)?;
    let mut config = vxlan();
    config["Network"] = "10.0.0.0/8".into();
    etcd.put_config(&config)?;
    let peers = (0..size.leases).map(peer).collect::<Result<Vec<_>>>()?;
    let floor = bare(&lab.hosts[1], &peers)?;
    announce(&lab, &peers[..FEW])?;
    let _answering = Answering::start(&lab.hosts[1], &lab.hosts[0])?;
    let few = news_of(&lab, &Subject::Ours, FEW)?;
    let flannels_few = flanneld
        .map(|program| news_of(&lab, &Subject::Flanneld(program), FEW))
        .transpose()?;
    announce(&lab, &peers)?;
    let (ours, passes) = figures(&lab, &Subject::Ours, &peers, few)?;
    let beside = match (flanneld, flannels_few) {
        (Some(program), Some(few)) => {
            Some(figures(&lab, &Subject::Flanneld(program), &peers, few)?.0)
        }
        _ => None,
    };
    Ok(rows(size, floor, &ours, median(&passes), beside.as_ref()))
}

fn rows(
    size: &Size,
    floor: Duration,
    ours: &Figures,
    pass: Pass,
    beside: Option<&Figures>,
) -> Vec<Row> {
    let Size { leases, .. } = size;
    let other = |words: &dyn Fn(&Figures) -> String| {
        beside.map_or_else(String::new, |beside| format!("flanneld {}", words(beside)))
    };
    let ratio = |ours: f64, other: Option<f64>| {
        other.map_or_else(String::new, |other| format!("{:.2}", ours / other))
    };
    let started = other(&|figures| report::duration(figures.start));
    let seconds = |figures: &Figures| figures.start.as_secs_f64();
    let more = ours.news.as_secs_f64() / ours.few.as_secs_f64();
    vec![
        Row {
            what: format!("start with {leases} leases until the kernel is programmed"),
            ours: report::duration(ours.start),
            other: format!("bare netlink {} {started}", report::duration(floor)),
            ratio: ratio(seconds(ours), beside.map(seconds)),
            goal: format!("≤ {}", report::duration(size.start)),
            met: Some(ours.start <= size.start),
        },
        Row {
            other: other(&|figures| format!("{:.1} MiB", figures.memory)),
            ratio: ratio(ours.memory, beside.map(|figures| figures.memory)),
            ..Row::below(
                &format!("resident memory with {leases} leases"),
                ours.memory,
                "MiB",
                1,
                size.memory,
            )
        },
        Row {
            what: format!("a new lease until its route, among {leases}"),
            ours: report::duration(ours.news),
            other: format!(
                "among {FEW} {} {}",
                report::duration(ours.few),
                other(&|figures| report::duration(figures.news))
            ),
            ratio: format!("{more:.2}"),
            goal: format!("≤ {MORE}"),
            met: Some(more <= MORE),
        },
        Row {
            what: format!("a pass with nothing to do, {leases} leases"),
            ours: report::duration(pass.took),
            other: format!("processor time {}", report::duration(pass.used)),
            ratio: String::new(),
            goal: format!("≤ {}", report::duration(size.pass)),
            met: Some(pass.took <= size.pass),
        },
        Row {
            other: other(&|figures| format!("{:.3} %", figures.idle)),
            ratio: ratio(ours.idle, beside.map(|figures| figures.idle)),
            ..Row::below(
                &format!("idle with {leases} leases, share of a core"),
                ours.idle,
                "%",
                3,
                0.1,
            )
            .without_goal()
        },
    ]
}

/// A program that is measured.
enum Subject<'a> {
    Ours,
    Flanneld(&'a Path),
}

/// The running program; it ends when this is dropped.
enum Running<'lab> {
    Ours(Agent<'lab>),
    Flanneld(Child),
}

impl Subject<'_> {
    /// The host that it runs on.
    fn host<'lab>(&self, lab: &'lab Lab) -> &'lab Host {
        &lab.hosts[0]
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Running<'lab>> {
        let host = self.host(lab);
        match self {
            Self::Ours => {
                let launch = Launch::etcd().arg("--log-level=info");
                Ok(Running::Ours(Agent::start(lab, host, &launch)?))
            }
            Self::Flanneld(program) => {
                let mut command = Command::new(program);
                command
                    .arg(format!("-etcd-endpoints={}", Etcd::endpoint()))
                    .arg(format!("-etcd-prefix={PREFIX}"))
                    .arg(format!("-iface={UPLINK}"))
                    .arg(format!(
                        "-subnet-file={}",
                        host.log("flanneld.env").display()
                    ))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                Ok(Running::Flanneld(host.place().spawn(&mut command)?))
            }
        }
    }
}

impl Running<'_> {
    fn pid(&self) -> u32 {
        match self {
            Self::Ours(agent) => agent.pid(),
            Self::Flanneld(child) => child.id(),
        }
    }

    /// Ends it, and forgets what it had on the host.
    fn end(mut self, host: &Host) -> Result<()> {
        match &mut self {
            Self::Ours(agent) => agent.kill()?,
            Self::Flanneld(child) => {
                child.kill()?;
                child.wait()?;
            }
        }
        // Set down first, it loses its routes at once.
        host.sh("ip link set flannel.1 down")?;
        host.sh("ip link del flannel.1")?;
        // The peers that an agent has saved would make its next start a warm one. Without its own lease and MAC it would
        // wait two seconds for another holder of them.
        match fs::remove_file(host.path("/var/lib/tweed/peers.json")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What a new lease costs with so many in the store.
fn news_of(lab: &Lab, subject: &Subject<'_>, leases: usize) -> Result<Duration> {
    let host = subject.host(lab);
    let running = subject.start(lab)?;
    programmed(host, leases)?;
    // No number is used twice: what comes here comes again among the many, and is no news then.
    let first = match subject {
        Subject::Ours => 30_000,
        Subject::Flanneld(_) => 31_000,
    };
    let news = news(lab, host, first)?;
    running.end(host)?;
    Ok(news)
}

fn news(lab: &Lab, host: &Host, first: usize) -> Result<Duration> {
    let all = (first..first + NEWS).map(|number| {
        thread::sleep(APART);
        new_lease(lab, host, &peer(number)?)
    });
    Ok(median(&all.collect::<Result<Vec<_>>>()?))
}

fn figures(
    lab: &Lab,
    subject: &Subject<'_>,
    peers: &[Node],
    few: Duration,
) -> Result<(Figures, Vec<Pass>)> {
    let host = subject.host(lab);
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        let (running, took) = cold_start(lab, subject, peers)?;
        starts.push(took);
        running.end(host)?;
    }
    let (running, took) = cold_start(lab, subject, peers)?;
    starts.push(took);
    programmed(host, peers.len())?;
    let first = match subject {
        Subject::Ours => 32_000,
        Subject::Flanneld(_) => 33_000,
    };
    let news = news(lab, host, first)?;
    let passes = match &running {
        Running::Ours(agent) => passes(agent)?,
        Running::Flanneld(_) => Vec::new(),
    };
    thread::sleep(QUIET);
    let memory = process::memory(running.pid(), "VmRSS")?;
    let before = process::busy_seconds(running.pid())?;
    thread::sleep(IDLE);
    let used = process::busy_seconds(running.pid())? - before;
    if let Running::Ours(agent) = &running {
        let (answer, of) = (answering(agent)?, peers.len());
        ensure!(answer >= of, "{answer} of {of} peers answer their probes");
    }
    running.end(host)?;
    let figures = Figures {
        start: median(&starts),
        few,
        news,
        memory,
        idle: 100.0 * used / IDLE.as_secs_f64(),
    };
    Ok((figures, passes))
}

fn cold_start<'lab>(
    lab: &'lab Lab,
    subject: &Subject<'_>,
    peers: &[Node],
) -> Result<(Running<'lab>, Duration)> {
    let host = subject.host(lab);
    let start = Instant::now();
    let running = subject.start(lab)?;
    let mut netlink = host.place().run(|| Ok(Netlink::open()?))?;
    let sample = peers.iter().step_by(SAMPLE).chain(peers.last());
    for peer in sample {
        let target = IpAddr::V4(peer.subnet.network());
        loop {
            let device = netlink.link("flannel.1")?.map(|link| link.index);
            let route = netlink.route_to(target)?;
            if device.is_some() && route.is_some_and(|route| route.oif == device) {
                break;
            }
            ensure!(
                start.elapsed() < Duration::from_secs(120),
                "{} is never routed",
                peer.subnet
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok((running, start.elapsed()))
}

/// Full passes that find nothing to do.
fn passes(agent: &Agent<'_>) -> Result<Vec<Pass>> {
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        thread::sleep(Duration::from_secs(1));
        let before = agent.status()?["kernel"]["full_passes"].as_u64();
        let busy = process::busy_seconds(agent.pid())?;
        agent.signal(Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(800));
        let used = process::busy_seconds(agent.pid())? - busy;
        let kernel = agent.status()?["kernel"].clone();
        ensure!(kernel["full_passes"].as_u64() > before, "no pass");
        let seconds = kernel["last_full_seconds"]
            .as_f64()
            .context("no pass is timed")?;
        passes.push(Pass {
            took: Duration::from_secs_f64(seconds),
            used: Duration::from_secs_f64(used),
        });
    }
    Ok(passes)
}
