//! A host in a bad state: no room on the disk, broken files, taken ports, a slow or silent store, signals at a bad time.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::relay::{Relay, SILENT};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

/// The state folders of all instances, and that of the first one.
const STATES: &str = "/var/lib/tweed";
const STATE: &str = "/var/lib/tweed/tweed";

fn mount(host: &Host, options: &str) -> Result<()> {
    host.sh(&format!("mount -t tmpfs -o {options} small {STATES}"))
        .map(drop)
}

fn words_at_the_end(agent: &mut Agent<'_>, code: i32, words: &[&str]) -> Result<()> {
    let (status, _) = agent.ended(Duration::from_secs(5))?;
    ensure!(status.code() == Some(code), "ended with {status}");
    agent.logged(words).map(drop)
}

#[test]
fn without_room_or_right_to_save_its_state_the_agent_works_and_says_so() -> Result<()> {
    for (options, word) in [
        ("size=4k,mode=700", "No space left"),
        ("ro", "Read-only file system"),
    ] {
        Topology::hosts(2).play(|lab| {
            let host = &lab.hosts[0];
            mount(host, options)?;
            if options != "ro" {
                // The one page there is.
                fs::write(host.path(STATES).join("filler"), [0; 4096])?;
            }
            let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
            cluster.agents[0].logged(&["the state folder can't be written", word])?;
            cluster.talks(Family::V4)?;
            let subnet = cluster.agents[0].subnet(Family::V4)?;
            let mac = cluster.peer(0, Family::V4)?.mac;
            // subnet.env and the device remember what the folder can't.
            cluster.agents[0].kill()?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            agent.ready()?;
            ensure!(agent.subnet(Family::V4)? == subnet, "another subnet");
            cluster.agents[0] = agent;
            ensure!(cluster.peer(0, Family::V4)?.mac == mac, "another MAC");
            cluster.talks(Family::V4)?;
            // When there is room, or the right to write, it is saved.
            let more = if options == "ro" { "rw" } else { "size=4m" };
            host.sh(&format!("mount -o remount,{more} {STATES}"))?;
            eventually("the state is saved", || {
                Ok(fs::read(host.path(STATE).join("lease.json"))?)
            })?;
            cluster.agents[0]
                .logged(&["the state is saved now"])
                .map(drop)
        })?;
    }
    Ok(())
}

/// What `df` says of /run.
fn run_has(host: &Host, column: &str) -> Result<u64> {
    let said = host.sh(&format!("df -k --output={column} /run"))?;
    let value = said.lines().last().context("df says nothing")?;
    Ok(value.trim().parse()?)
}

#[test]
fn a_full_run_stops_no_start_and_what_was_missing_comes_when_there_is_room() -> Result<()> {
    for full in ["size", "nr_inodes"] {
        Topology::hosts(1).play(|lab| {
            let host = &lab.hosts[0];
            let launch = Launch::file(lab);
            launch.set_config(lab, &vxlan())?;
            // A limit of 0 is none.
            fs::write(host.path("/run/filler"), [0; 8192])?;
            let limit = match full {
                "size" => format!("size={}k", run_has(host, "used")?),
                _ => format!("nr_inodes={}", run_has(host, "iused")?),
            };
            host.sh(&format!("mount -o remount,{limit} /run"))?;
            let mut agent = Agent::start(lab, host, &launch)?;
            agent.logged(&["ERROR", "subnet file not written", "No space left"])?;
            ensure!(agent.get("/healthz")?.0 == 200, "not alive");
            let (ready, reason) = agent.get("/readyz")?;
            ensure!(
                ready == 503 && reason.contains("subnet"),
                "{ready} {reason}"
            );
            host.sh("ip link show flannel.1")?;
            host.sh("mount -o remount,size=64m,nr_inodes=65536 /run")?;
            agent.ready()?;
            eventually("commands can ask the agent", || {
                ensure!(agent.status()?["ready"] == true, "not yet");
                Ok(())
            })?;
            eventually("the lock is taken", || {
                let holder = fs::read_dir(host.path("/run/tweed"))?
                    .flatten()
                    .find_map(|entry| {
                        let is_lock = entry.path().extension().is_some_and(|end| end == "lock");
                        is_lock.then_some(())
                    });
                holder.context("no lock")
            })
        })?;
    }
    Ok(())
}

#[test]
fn truncated_and_garbled_state_is_set_aside_and_costs_neither_subnet_nor_traffic() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let subnet = cluster.agents[0].subnet(Family::V4)?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        let garbage: [&[u8]; 4] = [b"", b"{\"key\": ", b"\x00\xff\xfe garbage", b"[[[[[[[[{}"];
        for content in garbage {
            cluster.agents[0].kill()?;
            for name in ["lease.json", "identity.json", "peers.json"] {
                fs::write(host.path(STATE).join(name), content)?;
            }
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            agent.ready()?;
            ensure!(
                agent.subnet(Family::V4)? == subnet,
                "another subnet after {content:?}"
            );
            cluster.agents[0] = agent;
        }
        cluster.agents[0].logged(&["WARN", "kept aside", "lease.json"])?;
        let loss = stream.stop()?;
        ensure!(loss.lost == 0, "{loss:?}");
        Ok(())
    })
}

#[test]
fn what_makes_a_start_impossible_ends_it_with_the_reason_and_the_flag() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let taken = host
            .place()
            .run(|| Ok(TcpListener::bind(("0.0.0.0", 10_507))?))?;
        let launch = Launch::etcd().instance(7);
        let mut agent = Agent::start(lab, host, &launch)?;
        words_at_the_end(&mut agent, 1, &["10507", "--healthz-port", "in use"])?;
        drop(taken);
        let long = format!("--socket=/run/{}/tweedd.sock", "x".repeat(120));
        let mut agent = Agent::start(lab, host, &Launch::etcd().instance(8).arg(long))?;
        words_at_the_end(&mut agent, 1, &["--socket", "107"])
    })
}

#[test]
fn signals_end_the_agent_at_once_while_the_store_or_its_name_server_is_silent() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let host = &lab.hosts[0];
        let relay = Relay::start(lab, SILENT)?;
        // A name server that doesn't exist: the look-up alone takes ten seconds.
        fs::write(host.path("/etc/resolv.conf"), "nameserver 198.18.0.77\n")?;
        let nameless = Launch::etcd().endpoint("http://etcd.example.org:2379");
        for launch in [Relay::launch()?, nameless] {
            for signal in [Signal::SIGTERM, Signal::SIGINT] {
                let mut agent = Agent::start(lab, host, &launch)?;
                thread::sleep(Duration::from_millis(700));
                ensure!(
                    agent.get("/healthz")?.0 == 200,
                    "not healthy while it waits"
                );
                agent.signal(signal)?;
                let (status, taken) = agent.ended(Duration::from_secs(9))?;
                ensure!(status.code() == Some(0), "{signal}: {status}");
                ensure!(taken < Duration::from_secs(1), "{signal} took {taken:?}");
            }
        }
        // And in the middle of a session.
        relay.set(0);
        let mut agent = Agent::start(lab, host, &Relay::launch()?)?;
        agent.ready()?;
        relay.set(SILENT);
        thread::sleep(Duration::from_millis(300));
        let (status, taken) = agent.terminate()?;
        ensure!(
            status.code() == Some(0) && taken < Duration::from_secs(1),
            "{status} {taken:?}"
        );
        Ok(())
    })
}

#[test]
fn sighup_makes_the_agent_look_again_and_does_not_end_it() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let agent = &mut cluster.agents[0];
        let before = agent.metric("tweed_full_passes_total")?;
        agent.signal(Signal::SIGHUP)?;
        agent.logged(&["SIGHUP"])?;
        eventually("a full pass", || {
            ensure!(
                agent.metric("tweed_full_passes_total")? > before,
                "none yet"
            );
            Ok(())
        })?;
        agent.ready().map(drop)
    })
}

#[test]
fn an_etcd_that_takes_two_seconds_for_every_answer_is_slow_and_nothing_else() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let relay = Relay::start(lab, 1000)?;
        let launch = Relay::launch()?;
        let mut agents = Vec::new();
        for host in &lab.hosts {
            agents.push(Agent::start(lab, host, &launch)?);
        }
        for agent in &mut agents {
            let name = agent.host().name().to_owned();
            timed(&format!("{name} is ready"), Duration::from_secs(60), || {
                let (status, text) = agent.get("/readyz")?;
                ensure!(status == 200, "{text}");
                Ok(())
            })?;
        }
        for agent in &agents {
            agent.sees(1)?;
        }
        ensure!(
            etcd.leases(PREFIX)?.len() == 2,
            "{:?}",
            etcd.leases(PREFIX)?
        );
        // Then it answers nothing at all for a while.
        relay.set(SILENT);
        thread::sleep(Duration::from_secs(3));
        relay.set(0);
        agents
            .iter_mut()
            .try_for_each(|agent| agent.ready().map(drop))
    })
}

#[test]
fn twenty_agents_survive_etcd_killed_and_restarted_again_and_again() -> Result<()> {
    Topology::hosts(20).play(|lab| {
        let mut etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let mut agents = Agent::everywhere(lab, &Launch::etcd())?;
        let before = etcd.leases(PREFIX)?;
        for _ in 0..3 {
            etcd.stop()?;
            thread::sleep(Duration::from_millis(400));
            etcd.resume()?;
        }
        let back = Instant::now();
        for agent in &mut agents {
            let lease = || -> Result<()> {
                let status = agent.status()?;
                ensure!(status["lease"]["state"] == "held", "{}", status["lease"]);
                Ok(())
            };
            timed("the lease is held again", Duration::from_secs(15), lease)?;
        }
        for agent in &mut agents {
            agent.ready()?;
            agent.sees(19)?;
        }
        ensure!(
            back.elapsed() < Duration::from_secs(20),
            "it took {:?}",
            back.elapsed()
        );
        ensure!(etcd.leases(PREFIX)? == before, "leases changed");
        Ok(())
    })
}

#[test]
fn systemd_gets_ready_only_when_programmed_and_stopping_at_the_end() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let path = lab.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_millis(700)))?;
        let mut buffer = [0; 256];
        let etcd = Etcd::start(lab)?;
        let launch = Launch::etcd().env("NOTIFY_SOCKET", path.to_str().context("a path")?);
        let mut agent = Agent::start(lab, host, &launch)?;
        let mut next = || -> Result<String> {
            let count = socket.recv(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
        };
        // Each reason once; none of them is that it is ready.
        while let Ok(said) = next() {
            ensure!(said.starts_with("STATUS=waiting: "), "{said}");
        }
        etcd.put_config(&vxlan())?;
        let mut said = |words: &str| {
            eventually(words, || {
                let message = next()?;
                ensure!(message.contains(words), "{message}");
                Ok(())
            })
        };
        said("READY=1")?;
        ensure!(agent.subnet_env().is_ok(), "ready without subnet.env");
        agent.terminate()?;
        said("STOPPING=1")
    })
}

#[test]
fn the_unit_is_one_that_systemd_accepts_without_a_warning() -> Result<()> {
    let root = tempfile::tempdir()?;
    let units = root.path().join("etc/systemd/system");
    fs::create_dir_all(&units)?;
    fs::create_dir_all(root.path().join("usr/local/bin"))?;
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/systemd");
    fs::copy(
        format!("{manifests}/tweedd.service"),
        units.join("tweedd.service"),
    )?;
    let program = root.path().join("usr/local/bin/tweedd");
    fs::write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let vendor = ["/usr/lib/systemd/system", "/lib/systemd/system"];
    let vendor = vendor.into_iter().find(|path| fs::metadata(path).is_ok());
    let target = root.path().join("usr/lib/systemd");
    fs::create_dir_all(&target)?;
    let vendor = vendor.context("install systemd: its units are looked at too")?;
    let copied = Command::new("cp")
        .args(["-r", vendor])
        .arg(target.join("system"))
        .status()?;
    ensure!(copied.success(), "cp: {copied}");
    let output = Command::new("systemd-analyze")
        .arg(format!("--root={}", root.path().display()))
        .args(["--man=no", "verify", "tweedd.service"])
        .output()
        .context("run systemd-analyze (Debian package systemd)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("tweedd"))
        .collect();
    ensure!(output.status.success() && ours.is_empty(), "{said}");
    Ok(())
}
