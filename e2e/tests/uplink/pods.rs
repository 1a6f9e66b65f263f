//! A DHCP client that takes every interface for its own: what belongs to the pod network never becomes the uplink.

use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, config, vxlan};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

use super::{batch, device};

/// The host's end of its pod's veth.
fn port(host: &Host) -> Result<String> {
    let ports = host.sh("ip -o link show master cni0")?;
    let name = ports.split([':', '@']).nth(1).unwrap_or_default().trim();
    ensure!(!name.is_empty(), "no port: {ports}");
    Ok(name.to_owned())
}

/// What a DHCP client does to an interface that it finds.
fn configure(host: &Host, dev: &str, addr: &str, metric: usize) -> Result<()> {
    batch(
        host.place(),
        &format!(
            "addr add {addr}/16 dev {dev} valid_lft 600 preferred_lft 600\n\
             route add default dev {dev} metric {metric}\n"
        ),
    )
}

#[test]
fn a_dhcp_client_on_a_device_of_the_pod_network_makes_it_no_uplink() -> Result<()> {
    for backend in ["vxlan", "udp", "host-gw"] {
        let config = config(&[Family::V4], &serde_json::json!({ "Type": backend }));
        Topology::hosts(2).play(|lab| {
            let mut cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.any_uplink())?;
            let host = &lab.hosts[0];
            // So that it is the agent that prefers its own, and not the metric.
            batch(
                host.place(),
                "route add default via 198.18.0.254 metric 100\nroute del default metric 0\n",
            )?;
            let port = port(host)?;
            let own = match backend {
                "vxlan" => Some("flannel.1"),
                "udp" => Some("flannel0"),
                _ => None,
            };
            let devices = [own, Some("cni0"), Some(port.as_str())];
            for (number, dev) in devices.into_iter().flatten().enumerate() {
                let addr = format!("169.254.{number}.7");
                configure(host, dev, &addr, 9 - number)?;
                let status = || -> Result<()> {
                    let status = cluster.agents[0].status()?;
                    ensure!(status["uplink"] == "eth0", "{status}");
                    ensure!(status["public"]["v4"] == "198.18.0.1", "{status}");
                    Ok(())
                };
                stays("the uplink", Duration::from_secs(1), status)?;
                cluster.agents[0].ready()?;
                cluster.talks(Family::V4)?;
            }
            // Its next start finds them all.
            cluster.agents[0].kill()?;
            let launch = cluster.launch.clone();
            let mut agent = Agent::start(lab, host, &launch)?;
            agent.ready()?;
            agent.sees(1)?;
            let status = agent.status()?;
            ensure!(status["uplink"] == "eth0", "{status}");
            traffic::all_reach_each_other(&cluster.pods, Family::V4)
        })?;
    }
    Ok(())
}

#[test]
fn a_device_of_the_pod_network_that_is_named_is_refused_and_the_reason_told() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let pod = cluster.pods[0].v4()?;
        drop(cluster.agents);
        for (flag, name) in [
            ("--iface=flannel.1", "flannel.1"),
            ("--iface=cni0", "cni0"),
            ("--iface-regex=^cni", "cni0"),
            (&format!("--iface-can-reach={pod}"), "cni0"),
        ] {
            let launch = Launch::etcd().any_uplink().arg(flag);
            let agent = Agent::start(lab, host, &launch)?;
            eventually("it is refused by name", || {
                let (code, text) = agent.get("/readyz")?;
                let wanted = format!("interface {name} can't be the uplink");
                ensure!(code == 503 && text.contains(&wanted), "{flag}: {text}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_default_route_over_the_pods_bridge_is_no_answer_until_there_is_another() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd_with(lab, &vxlan(), |launch| launch.any_uplink())?;
        let host = &lab.hosts[0];
        host.sh("ip route del default")?;
        configure(host, "cni0", "169.254.3.7", 1)?;
        eventually("it is told", || {
            let (_, text) = cluster.agents[0].get("/readyz")?;
            ensure!(text.contains("no IPv4 default route"), "{text}");
            Ok(())
        })?;
        cluster.talks(Family::V4)?;
        host.sh("ip route add default via 198.18.0.254 metric 50")?;
        cluster.agents[0].ready()?;
        ensure!(cluster.agents[0].status()?["uplink"] == "eth0");
        device(host, &[" dev eth0 ", "local 198.18.0.1 "])?;
        cluster.talks(Family::V4)
    })
}
