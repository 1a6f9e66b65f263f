//! The main job: pods on three hosts that talk.
//!
//! ```text
//!  pod ── cni0 ── flannel.1 ═══ VXLAN over 198.18.0.0/24 ═══ flannel.1 ── cni0 ── pod
//!      host1                                                          host2 (and host3)
//! ```

use anyhow::{Context, Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{vxlan, vxlan_dual};
use tweed_lab::topology::Topology;
use tweed_lab::{fault, traffic};
use tweed_model::Family;

/// What VXLAN adds to a pod's packet, in bytes.
fn overhead_of(family: Family) -> u32 {
    match family {
        Family::V4 => 50,
        Family::V6 => 70,
    }
}

#[test]
fn pods_on_three_hosts_reach_each_other_over_a_lease_from_etcd() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        cluster.talks(Family::V4)?;
        for (index, host) in lab.hosts.iter().enumerate() {
            let subnet = cluster.agents[index].subnet(Family::V4)?;
            let (key, value) = cluster.etcd()?.lease_of(host.v4())?;
            ensure!(key == subnet.to_string().replace('/', "-"), "key {key}");
            ensure!(value["BackendType"] == "vxlan", "value {value}");
            for (other, agent) in cluster.agents.iter().enumerate() {
                if other != index {
                    cluster
                        .peer(index, Family::V4)?
                        .is_programmed(agent.host())?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn both_families_work_over_etcd() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

#[test]
fn both_families_work_over_a_folder_as_the_store() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan_dual())?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

#[test]
fn packets_of_the_full_pod_mtu_pass_and_larger_ones_are_refused_at_the_pod() -> Result<()> {
    for (config, uplink, widest) in [
        (vxlan(), 1500, Family::V4),
        (vxlan(), 9000, Family::V4),
        (vxlan_dual(), 1500, Family::V6),
    ] {
        Topology::hosts(2).mtu(uplink).play(|lab| {
            let cluster = Cluster::on_etcd(lab, &config)?;
            let mtu = uplink - overhead_of(widest);
            let env = cluster.agents[0].subnet_env()?;
            ensure!(env.mtu == mtu, "{}", env.text);
            for (family, _) in env.subnets.iter() {
                let device = fault::Vtep::of(&lab.hosts[0], family)?.dev;
                let found = fault::mtu(&lab.hosts[0], &device)?;
                let own = uplink - overhead_of(family);
                ensure!(found == u64::from(own), "{device} has MTU {found}");
                let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
                cluster.talks(family)?;
                traffic::ping_size(from.place(), to.addr(family)?, mtu)?;
                let error = traffic::ping_size(from.place(), to.addr(family)?, mtu + 1)
                    .err()
                    .context("a packet above the MTU passed")?;
                let text = format!("{error:#}");
                ensure!(text.contains("ended with"), "{text}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tcp_carries_megabytes_unchanged_in_both_families() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("--ip-masq"))?;
        let [client, server] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let addr = server.addr(family)?;
            let transfer = traffic::tcp(client.place(), server.place(), addr, 8 << 20)?;
            ensure!(
                transfer.client == client.addr(family)?,
                "the server saw {} instead of the pod",
                transfer.client
            );
        }
        Ok(())
    })
}

#[test]
fn hosts_reach_pods_of_other_hosts_and_back() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, pod) = (&lab.hosts[0], &cluster.pods[1]);
        traffic::ping(host.place(), pod.v4()?)?;
        traffic::ping(pod.place(), host.v4())?;
        let seen = traffic::udp_source(pod.place(), host.place(), host.v4())?;
        ensure!(
            seen == lab.hosts[1].v4() || seen == pod.v4()?,
            "{} saw {seen}",
            host.name()
        );
        Ok(())
    })
}
