//! `tweed run` with plain Docker: containers get a second interface in the pod network and lose it, in any order with
//! what Docker does.
//!
//! ```text
//!  container ─ eth0 ─ docker0              container ─ eth0 ─ docker0
//!            ─ net1 ─ cni0 ═══ flannel.1 ═══ cni0 ─ pod
//! ```

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{self, Runtime};
use tweed_lab::docker::{Container, Docker};
use tweed_lab::launch::vxlan;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;

#[test]
fn docker_containers_join_the_pod_network_and_leave_it_in_any_order() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let [near, far] = [cluster.pods[0].v4()?, cluster.pods[1].v4()?];
        let docker = Docker::start(host, &[])?;
        // As install-cni does, under another name than the plugin's.
        fs::write(host.path("/etc/cni/net.d/10-flannel.conflist"), LIST)?;
        let before = reservations(host)?;

        // Attached before Docker connects it to another network: that one finds its name eth1 free.
        let web = docker.container_with(&["--name", "web"])?;
        let added = add(lab, "docker://web")?;
        ensure!(name_of(&added)? == "net1", "{added}");
        let addr = cni::addrs(&added)?.v4.context("an address")?;
        reaches(&web, &[near, far])?;
        for pod in &cluster.pods {
            traffic::ping(pod.place(), addr)?;
        }
        docker.run(&["network", "create", "other"])?;
        docker.run(&["network", "connect", "other", "web"])?;
        ensure!(web.run(&["ip", "-o", "addr"])?.contains("eth1"), "no eth1");
        reaches(&web, &[near, far])?;

        // Attached after Docker has; both ways reach.
        let db = docker.container_with(&["--name", "db"])?;
        docker.run(&["network", "connect", "other", "db"])?;
        let second = cni::addrs(&add(lab, "docker://db")?)?
            .v4
            .context("an address")?;
        reaches(&web, &[second, far])?;
        run(lab, "check", "docker://db")?;
        docker.run(&["network", "disconnect", "other", "db"])?;
        docker.run(&["network", "disconnect", "bridge", "db"])?;
        reaches(&db, &[addr, far])?;
        run(lab, "check", "docker://db")?;

        // The container's first process is another name for it, and so is its ID.
        let format = "{{.State.Pid}}";
        let number = docker.run(&["inspect", "--format", format, "web"])?;
        let error = add(lab, &format!("docker://{}", &web.id[..12])).unwrap_err();
        ensure!(
            format!("{error:#}").contains("attached already, as net1"),
            "{error:#}"
        );
        run(lab, "del", &format!("docker://{}", &web.id[..12]))?;
        let by_number = format!("pid:{}", number.trim());
        add(lab, &by_number)?;
        reaches(&web, &[near, second, far])?;
        run(lab, "del", &by_number)?;
        ensure!(
            web.run(&["ip", "link", "show", "net1"]).is_err(),
            "net1 is left"
        );
        ensure!(reservations(host)?.len() == before.len() + 1, "of db alone");
        run(lab, "del", "docker://db")?;
        run(lab, "del", "docker://db")?;
        ensure!(reservations(host)? == before, "an address is left");
        ensure!(
            db.run(&["ip", "link", "show", "net1"]).is_err(),
            "net1 is left"
        );
        Ok(())
    })
}

#[test]
fn docker_containers_that_restart_or_go_leave_nothing_and_are_attached_anew() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let pod = cluster.pods[0].v4()?;
        let docker = Docker::start(host, &[])?;
        fs::write(host.path("/etc/cni/net.d/10-flannel.conflist"), LIST)?;
        let before = reservations(host)?;
        let web = docker.container_with(&["--name", "web"])?;
        add(lab, "docker://web")?;

        docker.run(&["restart", "--time", "0", "web"])?;
        let error = run(lab, "check", "docker://web").unwrap_err();
        ensure!(
            format!("{error:#}").contains("it was started again"),
            "{error:#}"
        );
        add(lab, "docker://web")?;
        reaches(&web, &[pod])?;
        ensure!(
            reservations(host)?.len() == before.len() + 1,
            "the earlier address is left"
        );

        docker.run(&["stop", "--time", "0", "web"])?;
        let error = add(lab, "docker://web").unwrap_err();
        ensure!(
            format!("{error:#}").contains("does not run: start it first"),
            "{error:#}"
        );
        run(lab, "del", "docker://web")?;
        ensure!(reservations(host)? == before, "an address is left");

        // Gone before it is detached, by its name and by its ID.
        docker.run(&["start", "web"])?;
        add(lab, "docker://web")?;
        docker.run(&["rm", "--force", "web"])?;
        run(lab, "del", "docker://web")?;
        run(lab, "del", "docker://web")?;
        ensure!(reservations(host)? == before, "an address is left");

        // Another container of the name.
        docker.container_with(&["--name", "web"])?;
        add(lab, "docker://web")?;
        docker.run(&["rm", "--force", "web"])?;
        let web = docker.container_with(&["--name", "web"])?;
        add(lab, "docker://web")?;
        reaches(&web, &[pod])?;
        ensure!(
            reservations(host)?.len() == before.len() + 1,
            "the earlier address is left"
        );

        // Renamed, and another one has the name: each keeps its own.
        docker.run(&["rename", "web", "old"])?;
        let newer = docker.container_with(&["--name", "web"])?;
        add(lab, "docker://web")?;
        reaches(&web, &[pod])?;
        reaches(&newer, &[pod])?;
        run(lab, "del", "docker://old")?;
        reaches(&newer, &[pod])?;

        // One that nobody detaches.
        docker.run(&["rm", "--force", "web", "old"])?;
        // The pod of the lab is another runtime's, which keeps its result in the same folder.
        run(lab, "gc", "")?;
        ensure!(reservations(host)? == before, "an address is left");
        Runtime::tweed().check(&cluster.pods[0], "eth0")?;
        let kept = fs::read_dir(host.path("/var/lib/cni/results"))?.count();
        ensure!(kept == 1, "{kept} results are kept");
        let veths = host.sh("ip -o link show type veth")?;
        // The uplink's and the pod's.
        ensure!(veths.lines().count() == 2, "{veths}");
        Ok(())
    })
}

#[test]
fn either_runtime_detaches_what_the_other_attached() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, keeper) = (&lab.hosts[0], &cluster.pods[0]);
        // The lab's runtime converts no results.
        let list = LIST.replace("1.1.0", "1.0.0");
        fs::write(host.path("/etc/cni/net.d/10-flannel.conflist"), list)?;
        let before = reservations(host)?;
        let others = Runtime::tweed();
        let pod = others.pod(host)?;
        let by_id = format!("--id {} --ifname eth0", pod.id);
        run(lab, "check", &format!("{} {by_id}", pod.netns))?;
        run(lab, "del", &by_id)?;
        ensure!(pod.place().sh("ip link show eth0").is_err(), "eth0 is left");
        ensure!(reservations(host)? == before, "an address is left");

        let pod = cni::Pod::new(host)?;
        run(lab, "add", &format!("{} --id {}", pod.netns, pod.id))?;
        traffic::ping(pod.place(), keeper.v4()?)?;
        others.check(&pod, "eth0")?;
        others.del(&pod, "eth0")?;
        ensure!(reservations(host)? == before, "an address is left");
        Ok(())
    })
}

const LIST: &str = r#"{"cniVersion": "1.0.0", "cniVersions": ["1.1.0"], "name": "cbr0", "plugins": [
  {"type": "tweed", "delegate": {"hairpinMode": true, "isDefaultGateway": true}}]}"#;

/// `tweed run <verb> tweed <container>`: the agent's network by the plugin's name.
pub(crate) fn run(lab: &Lab, verb: &str, container: &str) -> Result<String> {
    let tweed = lab.binaries.plugin.display();
    lab.hosts[0].sh(&format!("{tweed} run {verb} tweed {container}"))
}

pub(crate) fn add(lab: &Lab, container: &str) -> Result<Value> {
    let printed = run(lab, "add", container)?;
    serde_json::from_str(&printed).with_context(|| printed)
}

/// The name of the interface in the container.
fn name_of(result: &Value) -> Result<&str> {
    let interfaces = result["interfaces"].as_array().context("interfaces")?;
    let inside = interfaces.iter().find(|it| it["sandbox"].is_string());
    inside
        .and_then(|it| it["name"].as_str())
        .context("one inside")
}

fn reaches(container: &Container<'_, '_>, addrs: &[std::net::IpAddr]) -> Result<()> {
    for addr in addrs {
        eventually("the container reaches it", || container.ping(*addr))?;
    }
    Ok(())
}

/// The addresses that are taken on the host.
pub(crate) fn reservations(host: &Host) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(host.path("/var/lib/cni/networks/cbr0"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.parse::<std::net::IpAddr>().is_ok().then_some(name));
    }
    names.sort();
    Ok(names)
}
