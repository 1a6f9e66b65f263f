//! An agent that is replaced under a service manager leaves it the device's queues and the sockets: packets wait in them.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::launch::config;
use tweed_lab::systemd::{FOLDER, Systemd};
use tweed_lab::topology::{Lab, Topology};
use tweed_model::Family;

use super::udp;

/// Hands the first host's agent over to systemd.
fn run_by_systemd<'lab>(
    lab: &'lab Lab,
    cluster: &mut Cluster<'_>,
    more: &str,
) -> Result<Systemd<'lab>> {
    cluster.agents[0].terminate()?;
    let systemd = Systemd::start(lab, &lab.hosts[0], &cluster.launch, more)?;
    systemd.ctl(&["start", "tweedd"])?;
    cluster.talks(Family::V4)?;
    Ok(systemd)
}

/// What follows all numbers.
const LAST: u32 = u32::MAX;

/// Numbers that one pod sends another, two hundred and fifty a second, whether they arrive or not. The device's queue
/// holds those of two families for two seconds, in which an agent that isn't optimised starts even on a busy machine.
struct Numbers {
    from: UdpSocket,
    to: UdpSocket,
}

impl Numbers {
    fn new(from: &Pod<'_>, to: &Pod<'_>, family: Family) -> Result<Self> {
        let (source, target) = (from.addr(family)?, to.addr(family)?);
        let to = to.place().run(|| Ok(UdpSocket::bind((target, 0))?))?;
        let from = from.place().run(|| Ok(UdpSocket::bind((source, 0))?))?;
        from.connect(to.local_addr()?)?;
        to.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self { from, to })
    }

    /// Sends until something is over.
    fn send(&self, over: &AtomicBool) -> Result<()> {
        for number in 0..LAST {
            if over.load(Ordering::Relaxed) {
                break;
            }
            self.from.send(&number.to_be_bytes())?;
            thread::sleep(Duration::from_millis(4));
        }
        self.from.send(&LAST.to_be_bytes())?;
        Ok(())
    }

    /// Every number must come, in its order. Gives how many did.
    fn receive(&self) -> Result<u32> {
        let mut buffer = [0; 4];
        let mut expected = 0;
        loop {
            self.to
                .recv(&mut buffer)
                .with_context(|| format!("number {expected}"))?;
            let number = u32::from_be_bytes(buffer);
            if number == LAST {
                return Ok(expected);
            }
            ensure!(number == expected, "{number} came for {expected}");
            expected += 1;
        }
    }
}

/// Checks that nothing is lost either way, in all families, while something is done.
fn nothing_is_lost_by(
    cluster: &Cluster<'_>,
    families: &[Family],
    action: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let [one, two] = &cluster.pods[..] else {
        anyhow::bail!("two pods");
    };
    let ways = families
        .iter()
        .flat_map(|family| [(one, two, *family), (two, one, *family)]);
    let streams = ways.map(|(from, to, family)| Numbers::new(from, to, family));
    let streams = streams.collect::<Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = streams.iter().map(|stream| {
            let receive = scope.spawn(|| stream.receive());
            (receive, scope.spawn(|| stream.send(&over)))
        });
        let ends: Vec<_> = ends.collect();
        thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        let done = action();
        let took = begin.elapsed();
        thread::sleep(Duration::from_millis(100));
        over.store(true, Ordering::Relaxed);
        for (receive, send) in ends {
            let panicked = |_| anyhow!("a stream panicked");
            send.join().map_err(panicked)??;
            let came = receive.join().map_err(panicked)??;
            println!("{came} came while {took:?} went by");
            ensure!(came > 20, "{came} came");
        }
        done
    })
}

/// How often workers of this host's agent have carried on, and how often they have begun anew.
fn starts(systemd: &Systemd<'_>) -> Result<[usize; 2]> {
    let log = systemd.log()?;
    let count = |word: &str| {
        let lines = log.lines().filter(|line| line.contains("data plane runs"));
        lines.filter(|line| line.contains(word)).count()
    };
    Ok([count("carries_on=true"), count("carries_on=false")])
}

#[test]
fn a_restart_by_systemd_loses_nothing() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&Family::BOTH))?;
        let systemd = run_by_systemd(lab, &mut cluster, "")?;
        ensure!(starts(&systemd)? == [0, 1], "{}", systemd.log()?);
        nothing_is_lost_by(&cluster, &Family::BOTH, || {
            for _ in 0..3 {
                systemd.ctl(&["restart", "tweedd"])?;
            }
            Ok(())
        })?;
        ensure!(starts(&systemd)? == [3, 1], "{}", systemd.log()?);
        let kept = systemd.ctl(&["show", "tweedd", "--property=NFileDescriptorStore"])?;
        ensure!(
            kept.trim() == "NFileDescriptorStore=0",
            "it runs, and {kept}"
        );
        // An agent that is stopped for good keeps no descriptor.
        systemd.ctl(&["stop", "tweedd"])?;
        systemd.ctl(&["start", "tweedd"])?;
        ensure!(starts(&systemd)? == [3, 2], "{}", systemd.log()?);
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

#[test]
fn several_workers_are_restarted_without_a_loss_too() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let several = config(&[Family::V4], &json!({ "Type": "udp", "Workers": 3 }));
        let mut cluster = Cluster::on_etcd_with(lab, &several, |launch| launch.arg("--ip-masq"))?;
        let systemd = run_by_systemd(lab, &mut cluster, "")?;
        nothing_is_lost_by(&cluster, &[Family::V4], || {
            systemd.ctl(&["restart", "tweedd"]).map(drop)
        })?;
        ensure!(starts(&systemd)? == [1, 1], "{}", systemd.log()?);
        Ok(())
    })
}

#[test]
fn what_no_longer_fits_is_not_taken_up() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        // Another configuration comes while no agent runs.
        let before = "/run/.lab/before";
        let script = lab.hosts[0].path(before);
        let systemd = run_by_systemd(
            lab,
            &mut cluster,
            &format!("ExecStartPre=-/bin/sh {before}"),
        )?;
        let mut begun = starts(&systemd)?[1];
        for (backend, begins) in [
            (json!({ "Type": "udp", "Workers": 2 }), true),
            (json!({ "Type": "udp", "Workers": 2, "Port": 8300 }), true),
            (json!({ "Type": "vxlan" }), false),
            (json!({ "Type": "udp", "Persist": false }), true),
            (
                json!({ "Type": "udp", "Persist": false, "KeepAlive": 5 }),
                true,
            ),
        ] {
            let tweedd = format!("{FOLDER}/tweedd config set -");
            let store = cluster.launch.store_args().join(" ");
            let text = config(&[Family::V4], &backend).to_string();
            fs::write(&script, format!("echo '{text}' | {tweedd} {store}"))?;
            systemd.ctl(&["restart", "tweedd"])?;
            let told = cluster.agents[1].store_command(&["config", "get"])?;
            let told: Value = serde_json::from_str(&told)?;
            ensure!(told["Backend"] == backend, "{told}");
            begun += usize::from(begins);
            ensure!(
                starts(&systemd)? == [0, begun],
                "{backend}: {}",
                systemd.log()?
            );
            cluster
                .talks(Family::V4)
                .with_context(|| backend.to_string())?;
        }
        Ok(())
    })
}
