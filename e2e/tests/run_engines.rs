//! `tweed run` with containers of Podman and containerd, found by the files that these keep.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::cni;
use tweed_lab::containerd::{Containerd, Version};
use tweed_lab::engine::{Engines, IMAGE};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::podman::Podman;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;

/// A host with an agent and a network `cbr0`.
fn play(scenario: impl FnOnce(&Lab, &Engines<'_>) -> Result<()>) -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let _agents = Agent::everywhere(lab, &Launch::etcd())?;
        scenario(lab, &Engines::on(&lab.hosts[0])?)
    })
}

#[test]
fn containers_of_podman_are_found_without_a_service_also_those_that_remove_themselves() -> Result<()>
{
    play(|lab, engines| {
        let podman = Podman::on(engines)?;
        let start = ["run", "--detach", "--network", "none", "--name"];
        podman.run(&[&start[..], &["web", IMAGE]].concat())?;
        let short = podman.run(&[&start[..], &["short", "--rm", IMAGE]].concat())?;
        attached(lab, "podman://web")?;
        attached(lab, &format!("podman://{}", &short.trim()[..12]))?;
        run(lab, "check", "podman://short")?;

        podman.run(&["restart", "--time", "0", "web"])?;
        let error = run(lab, "check", "podman://web").unwrap_err();
        ensure!(
            format!("{error:#}").contains("it was started again"),
            "{error:#}"
        );
        attached(lab, "podman://web")?;
        podman.run(&["stop", "--time", "0", "web"])?;
        // Its number is kept in a file still, and is no container's.
        let error = run(lab, "add", "podman://web").unwrap_err();
        ensure!(format!("{error:#}").contains("does not run"), "{error:#}");
        run(lab, "gc", "")?;
        run(lab, "check", "podman://short")?;
        podman.run(&["stop", "--time", "0", "short"])?;
        for _ in 0..2 {
            run(lab, "del", "podman://short")?;
        }
        engines.nothing_is_left()
    })
}

#[test]
fn tasks_of_containerd_are_found_by_their_ids() -> Result<()> {
    play(|lab, engines| {
        let containerd = Containerd::start(engines, Version::Debian)?;
        for name in ["web", "web2"] {
            containerd.ctr(&["run", "--detach", IMAGE, name])?;
        }
        attached(lab, "containerd://web")?;
        attached(lab, "containerd://default/web2")?;
        run(lab, "check", "containerd://web")?;
        containerd.ctr(&["task", "kill", "--signal", "9", "web"])?;
        eventually("the task ends", || {
            containerd.ctr(&["task", "delete", "web"]).map(drop)
        })?;
        let error = run(lab, "check", "containerd://web").unwrap_err();
        // The other one's ID begins so.
        ensure!(format!("{error:#}").contains("cbr0"), "{error:#}");
        run(lab, "gc", "")?;
        run(lab, "check", "containerd://web2")?;
        run(lab, "del", "containerd://web2")?;
        containerd.ctr(&["task", "kill", "--signal", "9", "web2"])?;
        engines.nothing_is_left()
    })
}

/// Attaches a container, which the host then reaches.
fn attached(lab: &Lab, container: &str) -> Result<()> {
    let printed = run(lab, "add", container)?;
    let result: Value = serde_json::from_str(&printed).with_context(|| printed)?;
    let addr = cni::addrs(&result)?.v4.context("an address")?;
    eventually("the host reaches the container", || {
        let ping = format!("ping -c 1 -W 1 {addr}");
        lab.hosts[0].sh(&ping).map(drop)
    })
}

fn run(lab: &Lab, verb: &str, container: &str) -> Result<String> {
    let tweed = lab.binaries.plugin.display();
    lab.hosts[0].sh(&format!("{tweed} run {verb} cbr0 {container}"))
}
