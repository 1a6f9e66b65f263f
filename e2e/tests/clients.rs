//! Runtimes that take minutes to build (`.ci/clients`), as clients of our plugins: containerd of both series through CRI.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::containerd::{Containerd, Version};
use tweed_lab::engine::{Engines, IMAGE};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

/// Files for `crictl`: a pod, with a port of the host where one is wanted, and its container.
fn write_files(engines: &Engines<'_>, name: &str, host_port: Option<u16>) -> Result<[String; 2]> {
    let ports: Vec<Value> = host_port
        .map(|port| json!({"protocol": 0, "container_port": 80, "host_port": port}))
        .into_iter()
        .collect();
    let pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 0},
        "log_directory": "/run", "port_mappings": ports, "linux": {},
        "annotations": {"kubernetes.io/ingress-bandwidth": "100M", "kubernetes.io/egress-bandwidth": "100M"},
    });
    let container = json!({
        "metadata": {"name": "c"}, "image": {"image": IMAGE}, "linux": {}, "log_path": format!("{name}.log"),
        "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"],
    });
    let paths = [format!("/run/{name}.pod"), format!("/run/{name}.container")];
    for (path, value) in paths.iter().zip([pod, container]) {
        fs::write(engines.host.path(path), value.to_string())?;
    }
    Ok(paths)
}

/// Starts a pod with a container, and gives both names and its address.
fn pod(
    containerd: &Containerd<'_, '_>,
    engines: &Engines<'_>,
    name: &str,
    host_port: Option<u16>,
) -> Result<[String; 3]> {
    let [pod, container] = write_files(engines, name, host_port)?;
    let id = containerd.crictl(&["runp", &pod])?;
    let inside = containerd.crictl(&["create", &id, &container, &pod])?;
    containerd.crictl(&["start", &inside])?;
    let status: Value =
        serde_json::from_str(&containerd.crictl(&["inspectp", "-o", "json", &id])?)?;
    let addr = status["status"]["network"]["ip"].as_str();
    let addr = addr
        .with_context(|| format!("no address: {status}"))?
        .to_owned();
    Ok([id, inside, addr])
}

/// Whether the runtime says that the network is ready, and why not.
fn network_ready(containerd: &Containerd<'_, '_>) -> Result<Option<String>> {
    let info: Value = serde_json::from_str(&containerd.crictl(&["info"])?)?;
    let conditions = info["status"]["conditions"].as_array();
    let mut conditions = conditions.context("conditions")?.iter();
    let of_network = conditions.find(|condition| condition["type"] == "NetworkReady");
    let of_network = of_network.context("a condition NetworkReady")?;
    Ok((of_network["status"] != true).then(|| of_network["message"].to_string()))
}

fn play(version: Version) -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let _agents = Agent::everywhere(lab, &Launch::etcd())?;
        let engines = Engines::on(&lab.hosts[0])?;
        let mut containerd = Containerd::start(&engines, version)?;
        println!("{}", containerd.crictl(&["version"])?);
        eventually("the network is ready", || {
            let why = network_ready(&containerd)?;
            ensure!(why.is_none(), "{why:?}");
            Ok(())
        })?;
        says_why_it_is_not_ready(&engines, &containerd, version)?;

        let [_, _, web] = pod(&containerd, &engines, "web", Some(8080))?;
        let [_, client, _] = pod(&containerd, &engines, "client", None)?;
        let limits = engines.host.sh("tc qdisc show")?;
        ensure!(limits.matches("rate 100Mbit").count() == 4, "{limits}");
        let port = format!("http://{}:8080/cgi-bin/who", engines.host.v4());
        let inside = format!("http://{web}/cgi-bin/who");
        let reached = |containerd: &Containerd<'_, '_>| -> Result<()> {
            containerd.crictl(&["exec", &client, "/bin/wget", "-qO-", &inside])?;
            engines.page(&port).map(drop)
        };
        eventually("pod and port answer", || reached(&containerd))?;
        containerd.restart()?;
        eventually("and after containerd was killed", || reached(&containerd))?;
        killed_while_it_attaches(&engines, &mut containerd)?;

        let pods = containerd.crictl(&["pods", "--quiet"])?;
        for id in pods.split_whitespace() {
            containerd.crictl(&["stopp", id])?;
            containerd.crictl(&["rmp", id])?;
        }
        engines.nothing_is_left()
    })
}

/// Series 2 asks STATUS where the list has a version that has it, and shows the answer.
fn says_why_it_is_not_ready(
    engines: &Engines<'_>,
    containerd: &Containerd<'_, '_>,
    version: Version,
) -> Result<()> {
    let (file, aside) = ("/run/flannel/subnet.env", "/run/flannel/aside");
    let text = fs::read_to_string(engines.host.path(file))?;
    fs::rename(engines.host.path(file), engines.host.path(aside))?;
    let why = network_ready(containerd);
    fs::write(engines.host.path(file), text)?;
    match (version, why?) {
        (Version::Two, Some(why)) => ensure!(why.contains("subnet.env"), "{why}"),
        (Version::Debian, None) => {}
        (_, why) => anyhow::bail!("{version:?} says {why:?}"),
    }
    Ok(())
}

/// containerd is killed while it attaches pods, and started again: what it knows of goes with `rmp`, and the rest with GC.
fn killed_while_it_attaches(
    engines: &Engines<'_>,
    containerd: &mut Containerd<'_, '_>,
) -> Result<()> {
    for number in 0..8_u64 {
        let name = format!("killed{number}");
        let [file, _] = write_files(engines, &name, Some(8100 + number as u16))?;
        thread::scope(|scope| -> Result<()> {
            let attaching = scope.spawn(|| containerd.crictl(&["--timeout", "5s", "runp", &file]));
            thread::sleep(Duration::from_millis(60 + number * 25));
            containerd.kill()?;
            let _ = attaching.join();
            Ok(())
        })?;
        containerd.restart()?;
    }
    let known = containerd.crictl(&["pods", "--quiet", "--no-trunc"])?;
    let known: Vec<&str> = known.split_whitespace().collect();
    engines.gc(&known)
}

#[test]
fn pods_of_containerd_1_have_addresses_ports_and_limits_and_leave_nothing() -> Result<()> {
    play(Version::Debian)
}

#[test]
fn pods_of_containerd_2_have_addresses_ports_and_limits_and_leave_nothing() -> Result<()> {
    play(Version::Two)
}
