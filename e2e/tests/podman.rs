//! Podman 4 as a client of our plugins: what it does with containers, and what is left when it is killed.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::engine::{Engines, IMAGE};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::podman::Podman;
use tweed_lab::topology::{Topology, UPLINK};
use tweed_lab::wait::eventually;

/// A host with an agent and Podman.
fn play(scenario: impl FnOnce(&Engines<'_>, &Podman<'_, '_>) -> Result<()>) -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let _agents = Agent::everywhere(lab, &Launch::etcd())?;
        let engines = Engines::on(&lab.hosts[0])?;
        let podman = Podman::on(&engines)?;
        scenario(&engines, &podman)
    })
}

#[test]
fn containers_of_podman_have_addresses_a_port_and_a_second_network_and_leave_nothing() -> Result<()>
{
    play(|engines, podman| {
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}]]});
        let macvlan = json!({"type": "macvlan", "master": UPLINK, "ipam": ipam});
        engines.network("second", &json!([macvlan]))?;
        let server = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"];
        let run = [
            "run",
            "--detach",
            "--name",
            "web",
            "--publish",
            "8080:80",
            "--entrypoint",
            "",
            IMAGE,
        ];
        podman.run(&[&run[..], &server].concat())?;
        podman.run(&[
            "run",
            "--detach",
            "--name",
            "two",
            "--cap-add",
            "NET_RAW",
            "--network",
            "cbr0,second",
            IMAGE,
        ])?;
        let port = format!("http://{}:8080/cgi-bin/who", engines.host.v4());
        let reached = || -> Result<()> {
            let web = podman.addr("web", "cbr0")?;
            podman.run(&["exec", "two", "ping", "-c", "1", "-W", "1", &web])?;
            for url in [port.as_str(), "http://127.0.0.1:8080/cgi-bin/who"] {
                engines.page(url)?;
            }
            Ok(())
        };
        eventually("the containers and the port answer", reached)?;
        let second = podman.addr("two", "second")?;
        ensure!(second.starts_with("192.0.2."), "{second}");
        podman.run(&["network", "disconnect", "second", "two"])?;
        podman.run(&["network", "connect", "second", "two"])?;
        podman.addr("two", "second")?;
        let before = podman.addr("web", "cbr0")?;
        podman.run(&["restart", "--time", "0", "web"])?;
        ensure!(
            podman.addr("web", "cbr0")? != before,
            "the restart gives another address"
        );
        eventually("and again after a restart", reached)?;
        podman.run(&["stop", "--time", "0", "--all"])?;
        engines.nothing_is_left()?;
        podman.run(&["start", "web"])?;
        podman.run(&["start", "two"])?;
        eventually("and again after a stop and a start", reached)?;
        podman.run(&["rm", "--force", "--all", "--time", "0"])?;
        engines.nothing_is_left()
    })
}

#[test]
fn what_a_podman_leaves_that_is_killed_while_it_attaches_is_removed_by_gc_and_what_lives_stays()
-> Result<()> {
    play(|engines, podman| {
        let living = podman.run(&["run", "--detach", "--publish", "8080:80", IMAGE])?;
        let living_has = engines.left()?;
        let mut most = 0;
        for number in 0..16_u64 {
            let port = format!("{}:80", 8100 + number);
            let run = [
                "run",
                "--detach",
                "--publish",
                &port,
                "--replace",
                "--name",
                "killed",
                IMAGE,
            ];
            let mut child = podman.start(&run)?;
            thread::sleep(Duration::from_millis(20 + number * 10));
            let group = Pid::from_raw(i32::try_from(child.id()).context("a pid fits")?);
            let _ = killpg(group, Signal::SIGKILL);
            child.wait()?;
            // Of one that was not killed in time, too.
            let _ = podman.run(&["rm", "--force", "--time", "0", "killed"]);
            most = most.max(engines.left()?.difference(&living_has).count());
        }
        println!("at most {most} things were left");
        engines.gc(&[&living])?;
        eventually("what lives is left", || {
            let left = engines.left()?;
            ensure!(
                left == living_has,
                "{:#?}",
                left.symmetric_difference(&living_has)
            );
            Ok(())
        })?;
        podman.run(&["rm", "--force", "--all", "--time", "0"])?;
        engines.nothing_is_left()
    })
}
