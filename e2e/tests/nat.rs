//! The source of pods' packets at a host that has no route to pods.
//!
//! ```text
//!  pod ── host1 ── seg0 ── router ── seg9 ── outside      (the router has no route to pods)
//! ```

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::launch::{vxlan, vxlan_dual};
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_model::Family;

#[test]
fn with_ip_masq_pods_leave_with_their_hosts_address_and_meet_each_other_with_their_own()
-> Result<()> {
    Topology::hosts(2).outside().play(|lab| {
        let cluster = Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("--ip-masq"))?;
        let outside = lab.outside()?;
        let [pod, other] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let (own, far) = (lab.hosts[0].addrs, outside.addrs);
            let target = *far.get(family).expect("both families");
            let seen = traffic::tcp(pod.place(), outside.place(), target, 100_000)?.client;
            ensure!(Some(&seen) == own.get(family), "outside saw {seen}");
            let seen = traffic::udp_source(pod.place(), outside.place(), target)?;
            ensure!(
                Some(&seen) == own.get(family),
                "outside saw {seen} over UDP"
            );

            let target = other.addr(family)?;
            let seen = traffic::tcp(pod.place(), other.place(), target, 1000)?.client;
            ensure!(seen == pod.addr(family)?, "the other pod saw {seen}");
        }
        Ok(())
    })
}

#[test]
fn without_ip_masq_the_plugin_masquerades_instead() -> Result<()> {
    Topology::hosts(1).outside().play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let (pod, outside) = (&cluster.pods[0], lab.outside()?);
        for (family, target) in outside.addrs.iter() {
            let seen = traffic::tcp(pod.place(), outside.place(), *target, 1000)?.client;
            ensure!(
                Some(&seen) == lab.hosts[0].addrs.get(family),
                "outside saw {seen}"
            );
        }
        Ok(())
    })
}

#[test]
fn with_masquerading_off_on_both_sides_pods_keep_their_address_everywhere() -> Result<()> {
    Topology::hosts(1).outside().play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, outside) = (&lab.hosts[0], lab.outside()?);
        let plugin =
            json!({ "type": "tweed", "delegate": { "ipMasq": false, "isDefaultGateway": true } });
        let pod = Runtime::single(plugin).pod(host)?;
        // The way back, which no masquerade provides.
        let subnet = cluster.agents[0].subnet(Family::V4)?;
        let router = lab.switch.place();
        router.sh(&format!("ip route add {subnet} via {}", host.v4()))?;
        let seen = traffic::tcp(pod.place(), outside.place(), outside.v4(), 1000)?.client;
        ensure!(seen == pod.v4()?, "outside saw {seen}");
        Ok(())
    })
}
