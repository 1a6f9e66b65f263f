//! The main job: pods on several hosts that talk, by each backend.
//!
//! ```text
//!  pod ── cni0 ── flannel.1 ═══ VXLAN over 198.18.0.0/24 ═══ flannel.1 ── cni0 ── pod
//!      host1                                                          host2 (and host3)
//! ```

use anyhow::{Context, Result, bail, ensure};
use tweed_lab::backend::Backend;
use tweed_lab::cluster::Cluster;
use tweed_lab::topology::Topology;
use tweed_lab::{fault, traffic};
use tweed_model::Family;

use super::backends::each_backend;

each_backend! {
    all: [
        pods_on_three_hosts_reach_each_other_over_leases_from_etcd,
        pods_reach_each_other_over_a_folder_as_the_store,
        packets_of_the_full_pod_mtu_pass_and_larger_ones_are_refused_at_the_pod,
        tcp_carries_megabytes_unchanged_and_shows_the_pods_address,
        hosts_reach_pods_of_other_hosts_and_back,
    ],
}

fn pods_on_three_hosts_reach_each_other_over_leases_from_etcd(backend: &Backend) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
            for (to, from) in [(0, 1), (0, 2), (1, 0)] {
                backend.leads(&lab.hosts[from], &cluster.agents[to], family)?;
            }
        }
        let env = cluster.agents[0].subnet_env()?;
        let (key, value) = cluster.etcd()?.lease_of(lab.hosts[0].v4())?;
        let subnets = env.subnets.values().map(|net| net.trunc().to_string());
        let wanted = subnets.collect::<Vec<_>>().join("&").replace('/', "-");
        ensure!(key == wanted, "key {key}, not {wanted}");
        let announced = &backend.lease()["BackendType"];
        ensure!(value["BackendType"] == *announced, "value {value}");
        let links = lab.hosts[0].sh("ip -o link show")?;
        let devices = links.matches(": flannel").count();
        ensure!(devices == backend.devices().len(), "{links}");
        Ok(())
    })
}

fn pods_reach_each_other_over_a_folder_as_the_store(backend: &Backend) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_files(lab, &backend.config(&Family::BOTH))?;
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}

fn packets_of_the_full_pod_mtu_pass_and_larger_ones_are_refused_at_the_pod(
    backend: &Backend,
) -> Result<()> {
    for (families, uplink) in [
        (&[Family::V4][..], 1280),
        (&[Family::V4], 1500),
        (&[Family::V4], 9000),
        (&Family::BOTH, 1500),
    ] {
        Topology::hosts(2).mtu(uplink).play(|lab| {
            let cluster = Cluster::on_etcd(lab, &backend.config(families))?;
            let [one, two] = &cluster.pods[..] else {
                bail!("two pods");
            };
            let mtu = backend.pod_mtu(uplink, families);
            let env = cluster.agents[0].subnet_env()?;
            ensure!(env.mtu == mtu, "{}", env.text);
            for &family in families {
                if let Some(device) = backend.device(family) {
                    let found = fault::mtu(&lab.hosts[0], device)?;
                    let wanted = backend.device_mtu(uplink, families, family);
                    ensure!(found == u64::from(wanted), "{device} has MTU {found}");
                }
                cluster.talks(family)?;
                for (from, to) in [(one, two), (two, one)] {
                    let to = to.addr(family)?;
                    traffic::ping_size(from.place(), to, mtu)?;
                    let larger = traffic::ping_size(from.place(), to, mtu + 1);
                    let error = larger.err().context("a packet above the MTU passed")?;
                    let text = format!("{error:#}");
                    ensure!(text.contains("ended with"), "{text}");
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn tcp_carries_megabytes_unchanged_and_shows_the_pods_address(backend: &Backend) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let config = backend.config(&Family::BOTH);
        let cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.arg("--ip-masq"))?;
        let [client, server] = &cluster.pods[..] else {
            bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let addr = server.addr(family)?;
            let transfer = traffic::tcp(client.place(), server.place(), addr, 32 << 20)?;
            ensure!(
                transfer.client == client.addr(family)?,
                "the server saw {} instead of the pod",
                transfer.client
            );
        }
        Ok(())
    })
}

fn hosts_reach_pods_of_other_hosts_and_back(backend: &Backend) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &backend.config(&[Family::V4]))?;
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
