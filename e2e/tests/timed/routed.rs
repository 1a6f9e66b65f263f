//! Pods without a bridge (`"mode": "routed"`): each has a route of its own on its host, and sends everything there.
//!
//! ```text
//!  pod ── veth ┐                                                  ┌ veth ── pod
//!  pod ── veth ┴ host1 ── flannel.1 ═══ VXLAN ═══ flannel.1 ── host2
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::backend::Backend;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::{eventually, timed};
use tweed_model::Family;

use super::pod_healing::shell;
use crate::backends::each_backend;

/// A repair takes less.
const LIMIT: Duration = Duration::from_secs(1);

each_backend! {
    all: [pods_reach_each_other_hosts_and_the_reverse_with_the_full_mtu],
}

/// Two pods on the first host, one on the second, and no bridge left.
fn pods<'lab>(
    lab: &'lab Lab,
    cluster: &Cluster<'lab>,
    runtime: &Runtime,
) -> Result<Vec<Pod<'lab>>> {
    for pod in &cluster.pods {
        Runtime::tweed().del(pod, "eth0")?;
        pod.host.sh("ip link del cni0")?;
    }
    [0, 0, 1]
        .iter()
        .map(|index| runtime.pod(&lab.hosts[*index]))
        .collect()
}

/// The host's end of a pod's pair.
fn end(pod: &Pod<'_>) -> Result<String> {
    let name = pod.result["interfaces"][0]["name"].as_str();
    Ok(name.context("a result names the host's end")?.to_owned())
}

fn all_talk(pods: &[Pod<'_>]) -> Result<()> {
    for family in Family::BOTH {
        traffic::all_reach_each_other(pods, family)?;
    }
    Ok(())
}

fn pods_reach_each_other_hosts_and_the_reverse_with_the_full_mtu(backend: &Backend) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let runtime = Runtime::routed();
        let pods = pods(lab, &cluster, &runtime)?;
        let mtu = cluster.agents[0].subnet_env()?.mtu;
        eventually("all talk", || all_talk(&pods))?;
        for family in Family::BOTH {
            for to in &pods[1..] {
                let to = to.addr(family)?;
                traffic::ping_size(pods[0].place(), to, mtu)?;
                let larger = traffic::ping_size(pods[0].place(), to, mtu + 1);
                ensure!(larger.is_err(), "a packet above the MTU passed");
                traffic::ping(lab.hosts[0].place(), to)?;
            }
            for host in &lab.hosts {
                let addr = host.addrs.get(family).context("an address")?;
                traffic::ping(pods[0].place(), *addr)?;
            }
        }
        // A probe comes from an address of the node.
        let addr = pods[0].v4()?;
        let seen = traffic::udp_source(lab.hosts[0].place(), pods[0].place(), addr)?;
        ensure!(lab.hosts[0].addrs.v4 == Some(seen), "the pod saw {seen}");
        let source = traffic::udp_source(pods[0].place(), pods[1].place(), pods[1].v4()?)?;
        ensure!(source == addr, "the other pod saw {source}");
        for pod in &pods {
            runtime.check(pod, "eth0")?;
        }
        Ok(())
    })
}

#[test]
fn everything_works_where_the_way_back_is_checked_strictly() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        for host in &lab.hosts {
            for key in ["all", "default", "eth0"] {
                host.sh(&format!("sysctl -qw net.ipv4.conf.{key}.rp_filter=1"))?;
            }
        }
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let pods = pods(lab, &cluster, &Runtime::routed())?;
        let filter = format!("sysctl -n net.ipv4.conf.{}.rp_filter", end(&pods[0])?);
        ensure!(lab.hosts[0].sh(&filter)?.trim() == "1", "it is not strict");
        eventually("all talk", || all_talk(&pods))?;
        for host in &lab.hosts {
            traffic::ping(host.place(), pods[0].v4()?)?;
            traffic::ping(pods[0].place(), host.v4())?;
        }
        Ok(())
    })
}

#[test]
fn what_pods_of_one_node_send_each_other_passes_the_forward_hook() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let pods = pods(lab, &cluster, &Runtime::routed())?;
        eventually("all talk", || all_talk(&pods))?;
        let (from, to) = (pods[0].v4()?, pods[1].v4()?);
        // Where packets in a bridge don't pass iptables.
        shell(
            &lab.hosts[0],
            "sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true",
        )?;
        shell(&lab.hosts[0], &format!(
            "nft 'add table ip barrier; add chain ip barrier forward {{ type filter hook forward priority 0; }}; \
             add rule ip barrier forward ip saddr {from} ip daddr {to} drop'"
        ))?;
        ensure!(traffic::ping(pods[0].place(), to).is_err(), "the policy is passed by");
        traffic::ping(pods[0].place(), pods[2].v4()?)?;
        lab.hosts[0].sh("nft delete table ip barrier")?;
        traffic::ping(pods[0].place(), to).map(drop)
    })
}

/// What the host has of a pod.
fn state(host: &Host, end: &str) -> Result<String> {
    shell(
        host,
        &format!(
            "ip -o link show {end} | grep -o 'master [a-z0-9]*\\|,UP'; ip route show dev {end}; \
             ip -6 route show dev {end} proto 86; ip neigh show dev {end} nud permanent; \
             sysctl -n net.ipv4.conf.{end}.route_localnet; \
             nft list table inet tweed-cni 2>/dev/null || true"
        ),
    )
}

#[test]
fn what_is_damaged_of_a_routed_pod_is_put_back_within_a_second() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let runtime = Runtime::single(json!({
            "type": "tweed", "mode": "routed", "ipMasq": true,
            "capabilities": { "portMappings": true },
        }));
        let pods = pods(lab, &cluster, &runtime)?;
        let mut published = runtime.clone();
        published.plugins[0]["runtimeConfig"] = json!({
            "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]
        });
        let host = &lab.hosts[0];
        let pod = published.pod(host)?;
        let (end, far) = (end(&pod)?, &pods[2]);
        let (v4, v6) = (pod.v4()?, pod.addr(Family::V6)?);
        let talks = || -> Result<()> {
            for family in Family::BOTH {
                traffic::ping(pod.place(), far.addr(family)?)?;
                traffic::ping(host.place(), pod.addr(family)?)?;
            }
            Ok(())
        };
        eventually("the pods talk", talks)?;
        let before = state(host, &end)?;
        for damage in [
            format!("ip route del {v4}/32"),
            format!("ip -6 route del {v6}/128"),
            format!("ip route replace {v4}/32 dev eth0"),
            format!("ip link set {end} down"),
            format!("ip neigh del {v4} dev {end}"),
            format!("ip neigh replace {v6} lladdr 02:00:00:00:00:77 dev {end} nud permanent"),
            format!("ip link add br7 type bridge && ip link set {end} master br7"),
            "nft flush ruleset".to_owned(),
        ] {
            shell(host, &damage)?;
            let (_, taken) = timed(&damage, LIMIT, || {
                let now = state(host, &end)?;
                ensure!(now == before, "{now}instead of\n{before}");
                Ok(())
            })?;
            println!("{damage}: healed within {taken:.0?}");
            eventually(&damage, talks)?;
        }
        published.check(&pod, "eth0")?;
        eventually("the agent is ready", || {
            let status = cluster.agents[0].status()?;
            ensure!(status["ready"] == true, "{status}");
            Ok(())
        })
    })
}

#[test]
fn a_routed_pod_that_is_removed_leaves_nothing_and_nothing_is_put_back() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let runtime = Runtime::routed();
        let pods = pods(lab, &cluster, &runtime)?;
        eventually("all talk", || all_talk(&pods))?;
        let host = &lab.hosts[0];
        for pod in &pods[..2] {
            runtime.del(pod, "eth0")?;
            runtime.del(pod, "eth0")?;
        }
        tweed_lab::wait::stays("nothing", Duration::from_secs(2), || {
            let left = shell(
                host,
                "ip route show proto 86; ip -6 route show proto 86; ip -o link | grep veth || true; ls /run/tweed/cni | grep json || true",
            )?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
    })
}
