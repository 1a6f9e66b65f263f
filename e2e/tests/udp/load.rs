//! Much at once: streams that outlive the agent, and flows without number.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::flood::{Flood, MIXED, Sink};
use tweed_lab::topology::Topology;
use tweed_lab::traffic::{self, Stream};
use tweed_model::Family;

use super::raw::Unchecked;
use super::udp;

/// When a connection has not outlived the restart. Four streams and three other tests share the processors with agents
/// that are not optimised.
const STALLED: Duration = Duration::from_secs(20);

#[test]
fn connections_outlive_an_agent_that_is_restarted_or_killed_under_load() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster =
            Cluster::on_etcd_with(lab, &udp(&Family::BOTH), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)?;
        for killed in [false, true] {
            let Cluster {
                agents,
                pods,
                launch,
                ..
            } = &mut cluster;
            let [one, two] = &pods[..] else {
                anyhow::bail!("two pods");
            };
            let over = AtomicBool::new(false);
            let rounds = AtomicUsize::new(0);
            let load = |family| {
                let addr = two.addr(family)?;
                // At least once to the end after the restart.
                while !over.load(Ordering::Relaxed) {
                    let (from, to) = (one.place(), two.place());
                    traffic::tcp_unless_it_stalls(from, to, addr, 16 << 20, STALLED)?;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            thread::scope(|scope| -> Result<()> {
                let loads = [Family::V4, Family::V6, Family::V4, Family::V6]
                    .map(|family| scope.spawn(move || -> Result<()> { load(family) }));
                let mut restart = || -> Result<()> {
                    let probes = [
                        Stream::start(one, two, Family::V4)?,
                        Stream::start(two, one, Family::V6)?,
                    ];
                    if killed {
                        agents[0].kill()?;
                    } else {
                        agents[0].terminate()?;
                    }
                    agents[0] = Agent::start(lab, &lab.hosts[0], launch)?;
                    agents[0].ready()?;
                    for probe in probes {
                        let loss = probe.stop()?;
                        ensure!(
                            loss.gap < Duration::from_secs(2),
                            "killed {killed}: {loss:?}"
                        );
                    }
                    Ok(())
                };
                let outcome = restart();
                over.store(true, Ordering::Relaxed);
                let loads = loads.map(|load| match load.join() {
                    Ok(outcome) => outcome,
                    Err(_) => bail!("a load panicked"),
                });
                // How long nothing came tells more than what came of it.
                outcome.and(loads.into_iter().collect())
            })
            .with_context(|| format!("killed {killed}"))?;
            ensure!(
                rounds.load(Ordering::Relaxed) >= 4,
                "every stream came to its end"
            );
        }
        Ok(())
    })
}

#[test]
fn many_senders_do_not_take_the_time_that_carrying_needs() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let [from, to] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        let flood = Flood {
            sizes: MIXED,
            sink: Sink::Looks,
            batch: 1,
            ..Flood::small(32)
        };
        // A twentieth of that arrives where senders take the time; once is enough, as other tests take time too.
        let mut seen = Vec::new();
        for _ in 0..8 {
            let arrived = flood.run(from, to, Duration::from_secs(1))?;
            if arrived.received > arrived.sent / 4.0 {
                return Ok(());
            }
            seen.push(arrived);
        }
        bail!("{seen:?}")
    })
}

/// Memory of a process in KiB.
fn resident(agent: &Agent<'_>) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.context("a process has memory")?;
    Ok(words.trim().trim_end_matches(" kB").parse()?)
}

/// Flows of each of two pods.
const FLOWS: u16 = 50_000;
/// Packets that may be under way.
const UNDER_WAY: usize = 256;

#[test]
fn a_hundred_thousand_flows_all_arrive_and_cost_no_memory() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster =
            Cluster::on_etcd_with(lab, &udp(&[Family::V4]), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        let second = tweed_lab::cni::Runtime::tweed().pod(&lab.hosts[0])?;
        let receiver = &cluster.pods[1];
        let addr = receiver.v4()?;
        let socket = receiver
            .place()
            .run(|| Ok(UdpSocket::bind((addr, 9000))?))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        // What it loses by itself is none of our business.
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        let before = [resident(&cluster.agents[0])?, resident(&cluster.agents[1])?];
        let senders = [
            Unchecked::new(cluster.pods[0].place())?,
            Unchecked::new(second.place())?,
        ];
        let total = usize::from(FLOWS) * senders.len();
        let came = AtomicUsize::new(0);
        let begin = Instant::now();
        let flows = thread::scope(|scope| {
            let count = scope.spawn(|| receive(&socket, total, &came));
            let sent = send(&senders, SocketAddr::new(addr, 9000), &came);
            let counted = count
                .join()
                .map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
            sent.and(counted)
        })?;
        ensure!(
            flows == total,
            "{flows} of {total} flows arrived in {:?}",
            begin.elapsed()
        );
        for (agent, before) in cluster.agents.iter().zip(before) {
            let grown = resident(agent)?.saturating_sub(before);
            ensure!(grown < 8 << 10, "the agent took {grown} KiB for it");
        }
        Ok(())
    })
}

/// One datagram from each port, no faster than they arrive.
fn send(senders: &[Unchecked], to: SocketAddr, came: &AtomicUsize) -> Result<()> {
    let mut sent = 0;
    for port in 1024..1024 + FLOWS {
        for sender in senders {
            let stuck = Instant::now();
            while sent - came.load(Ordering::Relaxed) > UNDER_WAY {
                ensure!(
                    stuck.elapsed() < Duration::from_secs(5),
                    "stuck after {sent}"
                );
                thread::sleep(Duration::from_micros(200)); // Others need the processor too.
            }
            sender.send(port, to, b"flow")?;
            sent += 1;
        }
    }
    Ok(())
}

/// How many different senders' datagrams come.
fn receive(socket: &UdpSocket, total: usize, came: &AtomicUsize) -> Result<usize> {
    let mut seen = std::collections::HashSet::with_capacity(total);
    let mut buffer = [0; 16];
    while seen.len() < total {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            break; // Nothing more comes.
        };
        ensure!(&buffer[..len] == b"flow", "{:?} came", &buffer[..len]);
        seen.insert(from);
        came.store(seen.len(), Ordering::Relaxed);
    }
    Ok(seen.len())
}
