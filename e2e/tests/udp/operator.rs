//! What an operator sees of the data plane, and chooses about it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, config};
use tweed_lab::topology::Topology;
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::{DEVICE, udp};

#[test]
fn metrics_and_status_show_traffic_of_each_peer_and_the_offloads() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        let agent = &cluster.agents[0];
        let (peer, subnet) = (
            lab.hosts[1].v4(),
            cluster.agents[1].subnet(Family::V4)?.trunc(),
        );
        let of_peer = |name: &str, direction: &str| {
            let labels = format!(r#"peer="{peer}:8285",subnet="{subnet}",direction="{direction}""#);
            agent.metric(&format!("tweed_{name}_total{{{labels}}}"))
        };
        let before = [
            of_peer("peer_packets", "sent")?,
            of_peer("peer_bytes", "received")?,
        ];
        let transfer = 8 << 20;
        traffic::tcp(two.place(), one.place(), one.v4()?, transfer)?;
        ensure!(
            of_peer("peer_packets", "sent")? > before[0],
            "acknowledgements"
        );
        let [packets, calls] = [
            of_peer("peer_packets", "received")?,
            of_peer("peer_calls", "received")?,
        ];
        ensure!(
            calls > 0.0 && packets > 2.0 * calls,
            "{packets} packets in {calls} calls"
        );
        let received = of_peer("peer_bytes", "received")? - before[1];
        ensure!(
            received > f64::from(transfer as u32),
            "{received} bytes received"
        );
        for offload in ["tcp", "udp", "send", "receive"] {
            let name = format!(r#"tweed_data_plane_offload{{offload="{offload}"}}"#);
            ensure!(agent.metric(&name)? == 1.0, "{offload} is off");
        }
        let delivered = |what: &str| {
            agent.metric(&format!(
                r#"tweed_data_plane_{what}_total{{direction="delivered"}}"#
            ))
        };
        let joined = delivered("packets")? / delivered("calls")?;
        ensure!(joined > 3.0, "{joined} packets in a call");
        ensure!(
            agent.metric("tweed_data_plane_workers")? == 1.0,
            "one worker"
        );
        // One question after the other, each sent as soon as the last is answered.
        let questions = ["ping", "-n", "-q", "-f", "-c", "500"];
        let to = one.v4()?.to_string();
        eventually("answers are looked for, not slept for", || {
            two.place().cmd([&questions[..], &[to.as_str()]].concat())?;
            let seconds = agent.metric("tweed_data_plane_polling_seconds_total")?;
            ensure!(seconds > 0.0, "never");
            Ok(())
        })?;
        let mtu = format!(r#"tweed_peer_mtu_bytes{{peer="{peer}:8285",subnet="{subnet}"}}"#);
        ensure!(agent.metric(&mtu)? == 1472.0, "another MTU");
        let text = agent.command(&["status"])?;
        let text = String::from_utf8(text.stdout)?;
        ensure!(text.contains("packets sent to other nodes"), "{text}");
        Ok(())
    })
}

#[test]
fn trace_shows_what_is_decided_about_an_address_and_says_where_nothing_is() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let target = cluster.pods[1].v4()?;
        let address = target.to_string();
        let agent = &cluster.agents[0];
        let words = [
            "trace",
            &address,
            "--count",
            "4",
            "--seconds",
            "8",
            "-o",
            "json",
        ];
        let ping = format!("ping -n -i 0.1 -c 50 {address} || true");
        let lines = thread::scope(|scope| {
            let pinging = scope.spawn(|| cluster.pods[0].place().cmd(["sh", "-c", &ping]));
            let asked = agent.command(&words);
            ensure!(pinging.join().is_ok_and(|pinged| pinged.is_ok()), "no ping");
            Ok(String::from_utf8(asked?.stdout)?)
        })?;
        let decisions: Vec<Value> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        ensure!(decisions.len() == 4, "{lines}");
        for way in ["in", "out"] {
            let of_way = decisions.iter().filter(|decision| decision["way"] == way);
            ensure!(of_way.count() == 2, "{lines}");
        }
        let out = decisions.iter().find(|decision| decision["way"] == "out");
        let peer = out.map(|decision| decision["peer"].clone());
        ensure!(
            peer == Some(json!(format!("{}:8285", lab.hosts[1].v4()))),
            "{lines}"
        );

        let wrong = cluster.agents[0].command(&["trace", "10.244.0.0/99"])?;
        let said = String::from_utf8(wrong.stderr)?;
        ensure!(
            !wrong.status.success() && said.contains("10.244.2.0/24"),
            "{said}"
        );
        cluster.agents[0].terminate()?;
        let gone = cluster.agents[0].command(&["trace", &address])?;
        let said = String::from_utf8(gone.stderr)?;
        ensure!(
            !gone.status.success() && said.contains("no agent listens"),
            "{said}"
        );
        Ok(())
    })
}

/// The threads that carry packets, as directories below `/proc`.
pub(super) fn carriers(agent: &Agent<'_>) -> Result<Vec<PathBuf>> {
    let mut carriers = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "forward" {
            carriers.push(task);
        }
    }
    ensure!(!carriers.is_empty(), "no thread carries packets");
    Ok(carriers)
}

/// Processor time of the threads that carry packets.
fn busy(agent: &Agent<'_>) -> Result<Duration> {
    let mut busy = Duration::ZERO;
    for task in carriers(agent)? {
        let stat = fs::read_to_string(task.join("schedstat"))?;
        let nanoseconds = stat.split(' ').next().unwrap_or_default();
        busy += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(busy)
}

/// The priorities of the threads that carry packets (`nice` in proc_pid_stat(5)).
fn priorities(agent: &Agent<'_>) -> Result<Vec<i8>> {
    let carriers = carriers(agent)?.into_iter();
    carriers.map(|task| priority(&task)).collect()
}

/// That of a process or thread, by its folder in `/proc`.
fn priority(task: &Path) -> Result<i8> {
    let stat = fs::read_to_string(task.join("stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("a name")?;
    let nice = after_name.split_whitespace().nth(16);
    Ok(nice.context("a priority")?.parse()?)
}

#[test]
fn packets_are_carried_before_other_work_as_far_as_the_agent_may() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&udp(&[Family::V4]))?;
        let bounded = "prlimit --nice=0:0 setpriv --bounding-set=-all,+net_admin --inh-caps=-all";
        let launches = [Launch::etcd(), Launch::etcd().through(bounded)];
        let agents = lab.hosts.iter().zip(&launches);
        let agents = agents.map(|(host, launch)| Agent::start(lab, host, launch));
        let mut agents = agents.collect::<Result<Vec<_>>>()?;
        // A process without the right keeps its priority, which is ours.
        let own = priority(Path::new("/proc/self"))?;
        for (agent, expected) in agents.iter_mut().zip([-17, own]) {
            agent.ready()?;
            eventually("its priority", || {
                let priorities = priorities(agent)?;
                ensure!(priorities == [expected], "{priorities:?}, not {expected}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn options_are_taken_by_agents_that_run_and_wrong_ones_are_named() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let choose = |options: Value| {
            cluster
                .launch
                .set_config(lab, &config(&[Family::V4], &options))
        };
        choose(json!({"Type": "udp", "Workers": 3, "BusyPoll": 20, "KeepAlive": 1, "Nice": 0}))?;
        for agent in &cluster.agents {
            eventually("three workers", || {
                ensure!(
                    agent.status()?["data_plane"]["workers"] == 3,
                    "{}",
                    agent.status()?
                );
                Ok(())
            })?;
            let device = agent.host().sh(&format!("ip -d link show {DEVICE}"))?;
            ensure!(device.contains("multi_queue"), "{device}");
        }
        cluster.talks(Family::V4)?;
        let before = busy(&cluster.agents[0])?;
        thread::sleep(Duration::from_millis(500));
        let busy = busy(&cluster.agents[0])? - before;
        ensure!(
            busy < Duration::from_millis(250),
            "it spins without packets: {busy:?}"
        );
        eventually("keep-alives", || {
            let status = cluster.agents[0].status()?;
            let received = status["data_plane"]["keep_alives"]["received"].as_u64();
            ensure!(received > Some(0), "{status}");
            Ok(())
        })?;
        choose(json!({"Type": "udp"}))?;
        for agent in &cluster.agents {
            eventually("one worker again", || {
                ensure!(
                    agent.status()?["data_plane"]["workers"] == 1,
                    "{}",
                    agent.status()?
                );
                Ok(())
            })?;
        }
        cluster.talks(Family::V4)?;
        let refused = choose(json!({"Type": "udp", "Trust": "nobody"})).unwrap_err();
        ensure!(
            refused
                .to_string()
                .contains("one of subnets, peers, anyone"),
            "{refused}"
        );
        cluster.talks(Family::V4)
    })
}

/// One connection on which a pod asks and another answers until it is `over`. A break, or five seconds without a byte, is
/// an error.
fn talk(client: &Pod<'_>, server: &Pod<'_>, over: &AtomicBool) -> Result<usize> {
    let (addr, limit) = (server.v4()?, Duration::from_secs(5));
    let listener = server.place().run(|| Ok(TcpListener::bind((addr, 0))?))?;
    let target = listener.local_addr()?;
    let mut near = client
        .place()
        .run(|| Ok(TcpStream::connect_timeout(&target, limit)?))?;
    let (mut far, _) = listener.accept()?;
    near.set_read_timeout(Some(limit))?;
    far.set_read_timeout(Some(limit))?;
    let mut rounds = 0_usize;
    let mut buffer = vec![0; 32 << 10];
    while !over.load(Ordering::Relaxed) {
        let question = vec![rounds as u8; buffer.len()];
        near.write_all(&question)?;
        far.read_exact(&mut buffer).context("a question")?;
        far.write_all(&buffer)?;
        near.read_exact(&mut buffer).context("an answer")?;
        ensure!(buffer == question, "the bytes came back changed");
        rounds += 1;
    }
    Ok(rounds)
}

#[test]
fn a_connection_outlives_every_change_of_options_and_packets_stop_for_less_than_a_second()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        // Else the plugin has the kernel masquerade between pods, which forgets connections with the device.
        let cluster =
            Cluster::on_etcd_with(lab, &udp(&[Family::V4]), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        let change = |options: &Value, priorities_then: &[i8]| -> Result<u32> {
            let stream = Stream::start(one, two, Family::V4)?;
            let config = config(&[Family::V4], options);
            cluster.launch.set_config(lab, &config)?;
            for agent in &cluster.agents {
                eventually("other threads carry packets", || {
                    let priorities = priorities(agent)?;
                    ensure!(priorities == priorities_then, "{priorities:?}");
                    Ok(())
                })?;
            }
            thread::sleep(Duration::from_millis(200));
            let loss = stream.stop()?;
            println!("{options}: {loss:?}");
            ensure!(loss.gap < Duration::from_secs(1), "{options}: {loss:?}");
            Ok(loss.lost)
        };
        let changes = || -> Result<()> {
            // Threads begin anew with the first, the sockets with the third, the device with the others.
            let lost = change(&json!({ "Type": "udp", "KeepAlive": 1, "Nice": 1 }), &[1])?;
            ensure!(lost == 0, "packets wait for the new thread: {lost}");
            change(&json!({ "Type": "udp", "Workers": 3, "Nice": 2 }), &[2; 3])?;
            change(&json!({ "Type": "udp", "Workers": 2, "Nice": 3 }), &[3; 2])?;
            change(&json!({ "Type": "udp" }), &[-17])?;
            Ok(())
        };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let connection = scope.spawn(|| talk(one, two, &over));
            let changed = changes();
            over.store(true, Ordering::Relaxed);
            let talked = connection.join();
            changed?;
            let rounds = talked.map_err(|_| anyhow!("the connection panicked"))??;
            ensure!(rounds > 100, "{rounds} rounds");
            Ok(())
        })
    })
}

#[test]
fn net_admin_and_the_device_are_all_that_an_agent_needs() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let only = "setpriv --bounding-set=-all,+net_admin --inh-caps=-all --no-new-privs";
        let launch = |launch: Launch| launch.through(only).arg("--ip-masq");
        let mut cluster = Cluster::on_etcd_with(lab, &udp(&Family::BOTH), launch)?;
        for agent in &mut cluster.agents {
            let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
            // CAP_NET_ADMIN is number 12.
            ensure!(status.contains("CapEff:\t0000000000001000\n"), "{status}");
            agent.ready()?;
        }
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let addr = two.addr(family)?;
            let transfer = traffic::tcp(one.place(), two.place(), addr, 8 << 20)?;
            ensure!(transfer.client == one.addr(family)?, "{transfer:?}");
        }
        // It repairs, too.
        lab.hosts[0].sh("ip link del flannel0")?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_device_that_shall_not_persist_goes_with_the_agent() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let options = config(&[Family::V4], &json!({"Type": "udp", "Persist": false}));
        let mut cluster = Cluster::on_etcd(lab, &options)?;
        cluster.talks(Family::V4)?;
        cluster.agents[0].terminate()?;
        let links = lab.hosts[0].sh("ip -o link show")?;
        ensure!(!links.contains(DEVICE), "{links}");
        cluster.agents[0] = Agent::start(lab, &lab.hosts[0], &cluster.launch)?;
        cluster.agents[0].ready()?;
        cluster.talks(Family::V4)
    })
}
