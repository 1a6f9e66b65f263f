//! Objects of pods' attachments on the host are restored within a second when another program removes or changes them.
//! Our plugin or Go's may have attached the pods.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{GO_PLUGINS, Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::ping;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

/// A repair takes less.
const LIMIT: Duration = Duration::from_secs(1);

/// A pod whose host is damaged, and one elsewhere that it talks to.
struct Victim<'a, 'lab> {
    host: &'lab Host,
    pod: &'a Pod<'lab>,
    far: &'a Pod<'lab>,
}

impl Victim<'_, '_> {
    /// The host's end of the pod's pair.
    fn port(&self) -> Result<String> {
        port(self.pod)
    }

    /// The host's objects of the pod, without numbers that the kernel draws anew.
    fn state(&self) -> Result<String> {
        let port = self.port()?;
        let host = self.host;
        let links: Value = serde_json::from_str(&shell(host, "ip -d -j link show")?)?;
        let find = |name: &str| {
            let mut links = links.as_array().into_iter().flatten();
            let found = links.find(|link| link["ifname"] == name);
            found.with_context(|| format!("there is no {name}"))
        };
        let up = |link: &Value| link["flags"].to_string().contains("\"UP\"");
        let (bridge, end) = (find("cni0")?, find(&port)?);
        let flags = &end["linkinfo"]["info_slave_data"];
        let addrs = shell(
            host,
            "ip -o addr show dev cni0 scope global | awk '{print $4}' | sort",
        )?;
        Ok(format!(
            "cni0 {} mtu {} up {}, {addrs}{port} in {} up {} hairpin {} isolated {}\n{}",
            bridge["address"],
            bridge["mtu"],
            up(bridge),
            end["master"],
            up(end),
            flags["hairpin"],
            flags["isolated"],
            shell(host, "nft list table inet tweed-cni 2>/dev/null || true")?,
        ))
    }

    /// Packets of the pod go to the other one and come back.
    fn talks(&self) -> Result<()> {
        for family in Family::BOTH {
            ping(self.pod.place(), self.far.addr(family)?)?;
        }
        Ok(())
    }

    /// Damages the host and waits until all is as it was.
    fn heals(&self, damage: &str) -> Result<()> {
        eventually("the pods talk", || self.talks())?;
        let before = self.state()?;
        shell(self.host, damage)?;
        let (_, taken) = timed(damage, LIMIT, || {
            let now = self.state()?;
            ensure!(now == before, "{now}instead of\n{before}");
            Ok(())
        })?;
        println!("{damage}: healed within {taken:.0?}");
        eventually(damage, || self.talks())
    }
}

pub(crate) fn shell(host: &Host, command: &str) -> Result<String> {
    host.place().cmd(["sh", "-ec", command])
}

/// The host's end of a pod's pair in a bridge, the second interface of a result.
pub(crate) fn port(pod: &Pod<'_>) -> Result<String> {
    let name = pod.result["interfaces"][1]["name"].as_str();
    Ok(name.context("a result names the host's end")?.to_owned())
}

/// A pod of ours with masquerading and a host port, and damage to its host.
fn heals(damage: impl Fn(&str) -> String) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let pod = full().pod(host)?;
        let victim = Victim {
            host,
            pod: &pod,
            far: &cluster.pods[1],
        };
        victim.heals(&damage(&victim.port()?))?;
        eventually("the log says it", || {
            let log = cluster.agents[0].log()?;
            ensure!(log.contains("put back what something else"), "{log}");
            Ok(())
        })?;
        eventually("the agent is ready", || {
            let status = cluster.agents[0].status()?;
            ensure!(status["ready"] == true, "{status}");
            Ok(())
        })
    })
}

pub(crate) fn full() -> Runtime {
    Runtime::single(json!({
        "type": "tweed",
        "delegate": { "hairpinMode": true, "isDefaultGateway": true, "ipMasq": true },
        "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] },
    }))
}

#[test]
fn a_deleted_bridge_is_made_again_with_all_that_was_in_it() -> Result<()> {
    heals(|_| "ip link del cni0".to_owned())
}

#[test]
fn a_bridge_that_was_set_down_is_up_again() -> Result<()> {
    heals(|_| "ip link set cni0 down".to_owned())
}

#[test]
fn gateways_that_were_flushed_are_back() -> Result<()> {
    heals(|_| "ip addr flush dev cni0 scope global".to_owned())
}

#[test]
fn a_bridge_with_another_ethernet_address_gets_its_own_again() -> Result<()> {
    heals(|_| "ip link set cni0 address 02:00:00:00:00:77".to_owned())
}

#[test]
fn a_bridge_with_another_mtu_gets_its_own_again() -> Result<()> {
    heals(|_| "ip link set cni0 mtu 1300".to_owned())
}

#[test]
fn a_port_that_was_taken_out_is_in_its_bridge_again() -> Result<()> {
    heals(|port| format!("ip link set {port} nomaster"))
}

#[test]
fn a_port_that_was_set_down_is_up_again() -> Result<()> {
    heals(|port| format!("ip link set {port} down"))
}

#[test]
fn a_port_with_other_switches_gets_its_own_again() -> Result<()> {
    heals(|port| format!("bridge link set dev {port} hairpin off"))?;
    heals(|port| format!("ip link set {port} type bridge_slave isolated on"))
}

#[test]
fn the_plugins_table_is_back_when_it_was_flushed_or_deleted() -> Result<()> {
    heals(|_| "nft flush table inet tweed-cni".to_owned())?;
    heals(|_| "nft delete table inet tweed-cni".to_owned())?;
    heals(|_| "nft flush set inet tweed-cni masq4".to_owned())
}

#[test]
fn pods_that_go_plugins_attached_heal_too() -> Result<()> {
    heal_though_attached_by(|_, delegate| {
        let mut runtime = Runtime::single(delegate);
        runtime.path = vec![GO_PLUGINS.to_owned()];
        Ok(runtime)
    })
}

/// What flannel's plugin does: it keeps the delegate's configuration, hands it on, and forgets it after DEL. The
/// configuration, which it makes from `subnet.env`, lies in a file here.
const FLANNEL: &str = r#"#!/bin/sh -e
saved=/var/lib/cni/flannel/$CNI_CONTAINERID
mkdir -p /var/lib/cni/flannel
[ "$CNI_COMMAND" != ADD ] || cat /run/delegate.json > "$saved"
/usr/lib/cni/bridge < "$saved"
[ "$CNI_COMMAND" != DEL ] || rm "$saved"
"#;

#[test]
fn pods_that_flannels_plugin_attached_heal_too() -> Result<()> {
    heal_though_attached_by(|host, mut delegate| {
        let mut runtime = Runtime::single(json!({ "type": "flannel", "delegate": {} }));
        delegate["cniVersion"] = json!(runtime.cni_version);
        delegate["name"] = json!(runtime.name);
        fs::write(host.path("/run/delegate.json"), delegate.to_string())?;
        shell(host, "mkdir -p /run/flannels-plugin")?;
        let plugin = host.path("/run/flannels-plugin/flannel");
        fs::write(&plugin, FLANNEL)?;
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755))?;
        runtime.path = vec!["/run/flannels-plugin".to_owned(), GO_PLUGINS.to_owned()];
        Ok(runtime)
    })
}

/// The runtime is given the configuration of Go's `bridge` with the agent's subnets, as flannel's plugin makes it.
fn heal_though_attached_by(runtime: impl Fn(&Host, Value) -> Result<Runtime>) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        Runtime::tweed().del(&cluster.pods[0], "eth0")?;
        let go = runtime(host, delegate(&cluster.agents[0])?)?;
        // Attached while no agent runs: it is started later.
        cluster.agents[0].terminate()?;
        let pod = go.pod(host)?;
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        cluster.agents[0].ready()?;
        let victim = Victim {
            host,
            pod: &pod,
            far: &cluster.pods[1],
        };
        let port = victim.port()?;
        for damage in [
            "ip link del cni0",
            "ip link set cni0 down",
            "ip addr flush dev cni0 scope global",
            "ip link set cni0 address 02:00:00:00:00:77",
            "ip link set cni0 mtu 1300",
            &format!("ip link set {port} nomaster"),
            &format!("ip link set {port} down"),
        ] {
            victim.heals(damage)?;
        }
        go.del(&pod, "eth0")?;
        let gone = shell(host, &format!("ip link show {port}"));
        ensure!(gone.is_err(), "{port} is left");
        Ok(())
    })
}

fn delegate(agent: &Agent<'_>) -> Result<Value> {
    let env = agent.subnet_env()?;
    let ranges: Vec<Value> = env
        .subnets
        .values()
        .map(|subnet| json!([{ "subnet": subnet.trunc() }]))
        .collect();
    Ok(json!({
        "type": "bridge",
        "bridge": "cni0",
        "mtu": env.mtu,
        "isGateway": true,
        "isDefaultGateway": true,
        "hairpinMode": true,
        "ipam": { "type": "host-local", "ranges": ranges },
    }))
}

#[test]
fn the_plan_prints_what_attachments_lack_as_commands() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        cluster.agents[0].terminate()?;
        shell(&lab.hosts[0], "ip link set cni0 down")?;
        let plan = cluster.agents[0].command(&["plan"])?;
        let words = String::from_utf8_lossy(&plan.stdout);
        ensure!(words.contains("set link cni0 mtu 1430"), "{words}");
        Ok(())
    })
}
