//! Several agents on one host: different networks live side by side, a second one on the same network is sent away.

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::wait::TIMEOUT;
use tweed_lab::{observe, traffic};
use tweed_model::Family;

const SECOND: &str = "/second/network";

#[test]
fn two_networks_live_on_one_host_and_a_pod_can_be_in_both() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let config = json!({ "Network": "10.99.0.0/16", "Backend": { "Type": "vxlan", "VNI": 2 } });
        cluster
            .etcd()?
            .put(&format!("{SECOND}/config"), &config.to_string())?;
        let before = [0, 1].map(|index| observe::ifindex(&lab.hosts[index], "flannel.1"));
        let launch = Launch::etcd_at(SECOND).instance(1);
        let mut agents = Vec::new();
        for host in &lab.hosts {
            let mut agent = Agent::start(lab, host, &launch)?;
            agent.ready()?;
            agents.push(agent);
        }

        let mut runtime = Runtime::single(json!({
            "type": "tweed",
            "subnetFile": "/run/flannel/subnet-1.env",
            "dataDir": "/var/lib/cni/flannel-1",
            "delegate": { "bridge": "cni1" },
        }));
        runtime.name = "second".to_owned();
        let mut both = Vec::new();
        for pod in &cluster.pods {
            both.push(runtime.add(pod, "net1")?);
        }
        cluster.talks(Family::V4)?;
        let far = tweed_lab::cni::addrs(&both[1])?.v4.expect("an address");
        tweed_lab::wait::eventually("the second network", || {
            traffic::ping(cluster.pods[0].place(), far)
        })?;

        // Neither agent takes the other's objects for leftovers.
        for agent in &mut agents {
            agent.terminate()?;
        }
        for (index, host) in lab.hosts.iter().enumerate() {
            let now = observe::ifindex(host, "flannel.1")?;
            ensure!(
                before[index].as_ref().is_ok_and(|old| *old == now),
                "replaced"
            );
            observe::link(host, "flannel.2")?;
        }
        for pod in &cluster.pods {
            runtime.del(pod, "net1")?;
        }
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_second_agent_on_the_same_network_refuses_and_names_the_first() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let before = observe::snapshot(host)?;
        let mut second = Agent::start(lab, host, &Launch::etcd().instance(1))?;
        let (status, _) = second.ended(TIMEOUT)?;
        ensure!(status.code() == Some(1), "it ended with {status}");
        let pid = host.sh("pgrep -o -x tweedd")?;
        let log = second.log()?;
        ensure!(log.contains(pid.trim()), "no pid {pid} in {log}");
        let changed = observe::difference(&before, &observe::snapshot(host)?);
        ensure!(changed.is_empty(), "{changed:?}");
        cluster.agents[0].ready()?;
        let pod = Pod::new(host)?;
        Runtime::tweed().add(&pod, "eth0")?;
        Ok(())
    })
}
