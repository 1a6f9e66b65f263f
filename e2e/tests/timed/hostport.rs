//! Host ports: from everywhere to a pod, through a flushed packet filter and without the agent.
//!
//! ```text
//!  client, other ── host1 ── seg0 ── host2 ── remote
//!                     └────── router ── seg9 ── outside
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{OUR_PLUGINS, Pod, Runtime};
use tweed_lab::launch::{Launch, vxlan_dual};
use tweed_lab::namespace::Place;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

/// Whatever is flushed is back in less.
const LIMIT: Duration = Duration::from_secs(1);

/// Tells each client over TCP where it comes from, on port 80 of a pod.
struct Server {
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(pod: &Pod<'_>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for family in Family::BOTH {
            let addr = SocketAddr::new(pod.addr(family)?, 80);
            let listener = pod.place().run(|| Ok(TcpListener::bind(addr)?))?;
            listener.set_nonblocking(true)?;
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((mut stream, from)) => {
                            let _ = stream.write_all(from.ip().to_string().as_bytes());
                        }
                        Err(_) => thread::sleep(Duration::from_millis(2)),
                    }
                }
            });
        }
        Ok(Self { stop })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Connects, and gives the address that the server saw.
fn seen(from: Place<'_>, addr: IpAddr, port: u16) -> Result<IpAddr> {
    let target = SocketAddr::new(addr, port);
    let limit = Duration::from_millis(300);
    let mut stream = from
        .run(|| Ok(TcpStream::connect_timeout(&target, limit)?))
        .with_context(|| format!("connect from {} to {target}", from.name()))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.parse()?)
}

fn mappings(ports: impl IntoIterator<Item = u16>) -> Value {
    let ports = ports.into_iter();
    let mapping = |port| json!({ "hostPort": port, "containerPort": 80, "protocol": "tcp" });
    json!({ "portMappings": ports.map(mapping).collect::<Vec<_>>() })
}

/// One entry for everything, as our own manifest has it.
fn alone(ports: &Value) -> Runtime {
    Runtime::single(json!({
        "type": "tweed",
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
        "capabilities": { "portMappings": true },
        "runtimeConfig": ports,
    }))
}

/// One entry that does all in one process.
fn whole(mode: &str, ports: &Value) -> Runtime {
    Runtime::single(json!({
        "type": "tweed",
        "mode": mode,
        "capabilities": { "portMappings": true },
        "runtimeConfig": ports,
    }))
}

/// Two entries, as flannel's list has it.
fn chained(ports: &Value) -> Runtime {
    let mut runtime = Runtime::tweed();
    runtime.plugins.push(json!({
        "type": "portmap",
        "capabilities": { "portMappings": true },
        "runtimeConfig": ports,
    }));
    runtime
}

/// Two hosts with agents and a pod each, and somebody outside.
fn play(
    scenario: impl for<'lab> FnOnce(&'lab Lab, &mut Cluster<'lab>) -> Result<()>,
) -> Result<()> {
    Topology::hosts(2).outside().play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        lab.hosts[0].sh(&format!("ln -sfn tweed {OUR_PLUGINS}/portmap"))?;
        scenario(lab, &mut cluster)
    })
}

/// Somebody outside reaches the port in both families, with its own address.
fn open_to(outside: &Host, host: &Host, port: u16) -> Result<()> {
    for (family, addr) in host.addrs.iter() {
        let client = seen(outside.place(), *addr, port)?;
        ensure!(Some(&client) == outside.addrs.get(family), "seen: {client}");
    }
    Ok(())
}

#[test]
fn a_host_port_leads_to_its_pod_from_everywhere() -> Result<()> {
    play(|lab, cluster| {
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let runtimes = [
            alone(&mappings([8080])),
            chained(&mappings([8081])),
            whole("bridge", &mappings([8082])),
            whole("routed", &mappings([8083])),
        ];
        for (runtime, port) in runtimes.iter().zip(8080..) {
            let pod = runtime.pod(host)?;
            let _server = Server::start(&pod)?;
            open_to(outside, host, port)?;
            for (family, addr) in host.addrs.iter() {
                let places = [
                    ("the pod itself", pod.place()),
                    ("another pod", cluster.pods[0].place()),
                    ("another host's pod", cluster.pods[1].place()),
                    ("the host", host.place()),
                    ("another host", lab.hosts[1].place()),
                ];
                for (who, place) in places {
                    seen(place, *addr, port).with_context(|| format!("{who}, {family}"))?;
                }
            }
            seen(host.place(), [127, 0, 0, 1].into(), port).context("the host's loopback")?;
            runtime.check(&pod, "eth0")?;
            runtime.del(&pod, "eth0")?;
            let after = seen(outside.place(), host.v4(), port);
            ensure!(after.is_err(), "still open: {after:?}");
        }
        Ok(())
    })
}

#[test]
fn a_flushed_packet_filter_leads_to_the_pod_again_within_a_second() -> Result<()> {
    play(|lab, _| {
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let runtime = alone(&mappings([8080]));
        let pod = runtime.pod(host)?;
        let _server = Server::start(&pod)?;
        open_to(outside, host, 8080)?;
        for damage in [
            "nft flush ruleset",
            "nft delete table inet tweed-cni",
            "nft flush chain inet tweed-cni hostports",
            "nft delete element inet tweed-cni hostport4 { tcp . 8080 }",
            "nft delete element inet tweed-cni hostport6 { tcp . 8080 }",
        ] {
            host.sh(damage)?;
            let (_, taken) = timed(damage, LIMIT, || open_to(outside, host, 8080))?;
            seen(pod.place(), host.v4(), 8080)?;
            println!("back after {taken:?}: {damage}");
        }
        runtime.check(&pod, "eth0")
    })
}

#[test]
fn a_flushed_packet_filter_is_restored_while_the_agent_waits_for_its_store() -> Result<()> {
    play(|lab, cluster| {
        let host = &lab.hosts[0];
        let pod = alone(&mappings([8080])).pod(host)?;
        let _server = Server::start(&pod)?;
        cluster.agents[0].kill()?;
        // The agent has no saved state, and its store doesn't answer.
        host.sh("find /var/lib/tweed -mindepth 1 -delete")?;
        let launch = Launch::etcd().endpoint("http://198.18.0.254:2399");
        cluster.agents[0] = Agent::start(lab, host, &launch)?;
        eventually("it waits", || {
            let (status, reason) = cluster.agents[0].get("/readyz")?;
            ensure!(
                status == 503 && reason.contains("waiting"),
                "{status} {reason}"
            );
            Ok(())
        })?;
        host.sh("nft flush ruleset")?;
        let (_, taken) = timed("the plugins' table is back", LIMIT, || {
            let found = host.sh("nft list table inet tweed-cni")?;
            ensure!(found.contains("8080"), "{found}");
            Ok(())
        })?;
        println!("back after {taken:?}");
        Ok(())
    })
}

/// A version before let packets of pods to the host's loopback in, and kept them out by a rule alone.
#[test]
fn the_hosts_loopback_is_closed_to_pods_again_where_an_earlier_version_had_opened_it() -> Result<()>
{
    play(|lab, cluster| {
        let host = &lab.hosts[0];
        let pod = alone(&mappings([8080])).pod(host)?;
        let _server = Server::start(&pod)?;
        let to_pod = || seen(host.place(), "127.0.0.1".parse()?, 8080).map(drop);
        to_pod()?;
        cluster.agents[0].kill()?;
        // As it left things: without the host's address in the record.
        let records = host.path("/run/tweed/cni");
        for entry in std::fs::read_dir(&records)?.flatten() {
            let text = std::fs::read_to_string(entry.path())?;
            if let Ok(Value::Object(mut record)) = serde_json::from_str(&text)
                && record.remove("hostAddress").is_some()
            {
                std::fs::write(entry.path(), Value::from(record).to_string())?;
            }
        }
        std::fs::write(records.join("loopback-open"), "")?;
        host.sh("sysctl -qw net.ipv4.conf.cni0.route_localnet=1")?;
        host.sh("nft flush ruleset")?;
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        cluster.agents[0].ready()?;
        eventually("the switch is off, and the port leads on", || {
            let on = host.sh("sysctl -n net.ipv4.conf.cni0.route_localnet")?;
            ensure!(on.trim() == "0", "{on}");
            to_pod()
        })
    })
}

#[test]
fn what_is_recorded_in_another_folder_is_restored_too() -> Result<()> {
    play(|lab, _| {
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let mut runtime = alone(&mappings([8080]));
        runtime.plugins[0]["stateDir"] = json!("/var/lib/cni/records");
        let pod = runtime.pod(host)?;
        let _server = Server::start(&pod)?;
        open_to(outside, host, 8080)?;
        host.sh("nft flush ruleset")?;
        let (_, taken) = timed("restored", LIMIT, || open_to(outside, host, 8080))?;
        println!("back after {taken:?}");
        runtime.check(&pod, "eth0")
    })
}

#[test]
fn host_ports_need_no_running_agent_and_a_new_one_keeps_and_restores_them() -> Result<()> {
    play(|lab, cluster| {
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let pod = chained(&mappings([8080])).pod(host)?;
        let _server = Server::start(&pod)?;
        let table = || host.sh("nft -a list table inet tweed-cni");
        let before = table()?;
        cluster.agents[0].terminate()?;
        open_to(outside, host, 8080)?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        cluster.agents[0] = agent;
        open_to(outside, host, 8080)?;
        ensure!(table()? == before, "the table was rewritten:\n{}", table()?);

        cluster.agents[0].kill()?;
        host.sh("nft flush ruleset")?;
        let closed = seen(outside.place(), host.v4(), 8080);
        ensure!(
            closed.is_err(),
            "nobody restores without an agent: {closed:?}"
        );
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        cluster.agents[0] = agent;
        eventually("the port leads to the pod again", || {
            open_to(outside, host, 8080)
        })
    })
}

#[test]
fn a_range_of_a_hundred_ports_is_open_in_one_step_and_taken_by_one_pod() -> Result<()> {
    play(|lab, _| {
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let runtime = alone(&mappings(20_000..20_100));
        let pod = runtime.pod(host)?;
        let _server = Server::start(&pod)?;
        for port in (20_000..20_100).step_by(11) {
            open_to(outside, host, port)?;
        }
        let refused = chained(&mappings([20_050])).pod(host);
        let error = format!("{:#}", refused.err().context("the port is taken")?);
        ensure!(error.contains("tcp 0.0.0.0:20050"), "{error}");
        ensure!(error.contains(&format!("cbr0/{}/eth0", pod.id)), "{error}");
        runtime.del(&pod, "eth0")?;
        let again = chained(&mappings([20_050])).pod(host)?;
        let _server = Server::start(&again)?;
        open_to(outside, host, 20_050)
    })
}
