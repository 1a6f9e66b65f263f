//! What containers have left that are gone without DEL is removed by the agent, at its start and from time to time; what
//! belongs to a container that runs, or may run, stays.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::timed::pod_healing::{port, shell};

const LIST: &str = "/etc/cni/net.d/10-flannel.conflist";
const RESERVATIONS: &str = "/var/lib/cni/networks/cbr0";

/// A chain with something of each kind on the host; each pod with a host port of its own.
fn runtime(port: u16) -> Runtime {
    let mut runtime = Runtime::single(json!({
        "type": "tweed",
        "delegate": { "hairpinMode": true, "isDefaultGateway": true, "ipMasq": true },
        "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": [{ "hostPort": port, "containerPort": 80, "protocol": "tcp" }] },
    }));
    runtime.plugins.push(json!({
        "type": "bandwidth",
        "ingressRate": 80_000_000, "ingressBurst": 8_000_000, "egressRate": 80_000_000, "egressBurst": 8_000_000,
    }));
    runtime.plugins.push(json!({ "type": "firewall" }));
    runtime
}

/// Places the list, and the links to our plugins that the chain names.
fn place_list(host: &Host, name: &str) -> Result<()> {
    shell(
        host,
        "for name in bandwidth firewall; do ln -sfn tweed /opt/cni/bin/$name; done",
    )?;
    let list = json!({ "cniVersion": "1.0.0", "name": name, "plugins": [{ "type": "tweed" }] });
    let file = host.path(LIST);
    fs::create_dir_all(file.parent().context("a folder")?)?;
    Ok(fs::write(file, list.to_string())?)
}

/// All that the host has of a pod, by its address and name.
fn left(host: &Host, pod: &Pod<'_>) -> Result<Vec<String>> {
    let addr = pod.v4()?.to_string();
    let mut found = Vec::new();
    if host.path(format!("{RESERVATIONS}/{addr}")).exists() {
        found.push("reservation".to_owned());
    }
    if host.path(format!("{RESERVATIONS}/.netns/{addr}")).exists() {
        found.push("note".to_owned());
    }
    let links: Value = serde_json::from_str(&shell(host, "ip -d -j link show")?)?;
    let links = links.as_array().into_iter().flatten();
    let of_pod = links.filter(|link| {
        link["ifalias"]
            .as_str()
            .is_some_and(|alias| alias.contains(&pod.id))
    });
    found.extend(of_pod.map(|link| format!("link {}", link["ifname"])));
    let rules = shell(host, "nft list ruleset")?;
    for (what, words) in [("element", pod.id.as_str()), ("rule", &addr)] {
        found.extend(rules.contains(words).then(|| what.to_owned()));
    }
    let records = shell(host, "cat /run/tweed/cni/* 2>/dev/null || true")?;
    found.extend(records.contains(&pod.id).then(|| "record".to_owned()));
    Ok(found)
}

#[test]
fn what_dead_containers_have_left_is_gone_after_a_start_and_what_lives_stays() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        place_list(host, "cbr0")?;
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        let runtimes = [8080, 8081, 8082, 8083, 8084].map(runtime);
        let mut pods = Vec::new();
        for runtime in &runtimes {
            pods.push(runtime.pod(host)?);
        }
        let [dead, killed, live, other, unseen] = pods.as_slice() else {
            unreachable!("five pods");
        };
        ensure!(left(host, dead)?.len() >= 6, "{:?}", left(host, dead)?);
        agent.terminate()?;
        dead.remove_netns()?;
        killed.remove_netns()?;
        // A namespace that its runtime has mounted where the agent can't look: it looks as if it were gone.
        shell(host, &format!("mkdir -p /run/elsewhere && mv /run/tweed/cni /run/tweed/old && mkdir /run/tweed/cni && for f in /run/tweed/old/*; do sed 's,/run/netns/{0}\",/nowhere/{0}\",' $f > /run/tweed/cni/$(basename $f); done && sed -i 's,/run/netns/{0}\",/nowhere/{0}\",g' /var/lib/cni/results/*{1}* && rm {RESERVATIONS}/.netns/{2}", unseen.netns, unseen.id, unseen.v4()?))?;
        unseen.remove_netns()?;
        for pod in [dead, killed] {
            let port = port(pod)?;
            eventually("the kernel has removed the pair", || {
                ensure!(!shell(host, "ip -o link")?.contains(&port));
                Ok(())
            })?;
        }
        let before = [left(host, live)?, left(host, other)?];
        let reserved = host.path(format!("{RESERVATIONS}/{}", unseen.v4()?));

        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        for pod in [dead, killed] {
            eventually("nothing of it is left", || {
                let left = left(host, pod)?;
                ensure!(left.is_empty(), "{left:?}");
                Ok(())
            })?;
        }
        let log = agent.logged(&["gone without DEL"])?;
        ensure!(log.contains("addresses=2") && log.contains("devices=2") && log.contains("rules=2"), "{log}");
        ensure!(agent.metric("tweed_cni_collected_total")? == 6.0);
        ensure!(before == [left(host, live)?, left(host, other)?]);
        ensure!(reserved.exists(), "the address of a container that may run");
        traffic::ping(live.place(), other.v4()?)?;
        for (pod, runtime) in [(live, &runtimes[2]), (other, &runtimes[3])] {
            runtime.check(pod, "eth0")?;
        }
        // The runtime may still call DEL.
        runtimes[0].del(dead, "eth0")?;
        let next = runtime(8080).pod(host)?;
        traffic::all_reach_each_other(&[next], Family::V4)
    })
}

#[test]
fn containers_of_other_networks_and_with_collection_off_are_left_alone() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        place_list(host, "cbr0")?;
        let mut agent = Agent::start(lab, host, &launch.clone().arg("--cni-gc=off"))?;
        agent.ready()?;
        let runtime = runtime(8080);
        let pod = runtime.pod(host)?;
        let reserved = host.path(format!("{RESERVATIONS}/{}", pod.v4()?));
        pod.remove_netns()?;
        std::thread::sleep(std::time::Duration::from_secs(8));
        ensure!(reserved.exists(), "off");
        agent.terminate()?;
        // A list of another network: cbr0 is somebody else's.
        place_list(host, "mine")?;
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        std::thread::sleep(std::time::Duration::from_secs(8));
        ensure!(reserved.exists(), "of another network");
        ensure!(agent.metric("tweed_cni_collected_total")? == 0.0);
        // Once the list is this network's, the next agent frees it.
        place_list(host, "cbr0")?;
        agent.terminate()?;
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        eventually("the address is free", || {
            ensure!(!reserved.exists());
            Ok(())
        })
    })
}
