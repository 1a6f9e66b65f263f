//! Hosts without peers, and others that join and leave.

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::backend::Backend;
use tweed_lab::cni::Runtime;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_model::Family;

use super::backends::each_backend;

#[test]
fn one_host_alone_is_ready_and_its_pods_talk() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let host = &lab.hosts[0];
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        agent.ready()?;
        ensure!(
            peer_routes(host, Family::V4)?.is_empty(),
            "a peer from nowhere"
        );
        let runtime = Runtime::tweed();
        let pods = [runtime.pod(host)?, runtime.pod(host)?];
        traffic::all_reach_each_other(&pods, Family::V4)?;
        traffic::ping(pods[0].place(), host.v4())?;
        Ok(())
    })
}

#[test]
fn an_agent_waits_for_the_configuration_and_for_etcd() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut agent = Agent::start(lab, &lab.hosts[0], &Launch::etcd())?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let (live, _) = agent.get("/healthz")?;
        let (ready, reason) = agent.get("/readyz")?;
        ensure!(live == 200 && ready == 503, "{live} {ready} {reason}");
        let etcd = Etcd::start(lab)?;
        agent.logged(&["config"])?;
        etcd.put_config(&vxlan())?;
        agent.ready()?;
        Ok(())
    })
}

each_backend! {
    all: [a_host_that_joins_is_reached_and_one_that_leaves_is_forgotten],
}

fn a_host_that_joins_is_reached_and_one_that_leaves_is_forgotten(backend: &Backend) -> Result<()> {
    let mut lab = Topology::hosts(2).build()?;
    lab.join(0)?;
    lab.check(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&backend.config(&Family::BOTH))?;
        let (launch, runtime) = (Launch::etcd(), Runtime::tweed());
        let start = |host| -> Result<Agent<'_>> {
            let mut agent = Agent::start(lab, host, &launch)?;
            agent.ready()?;
            Ok(agent)
        };
        let first = [start(&lab.hosts[0])?, start(&lab.hosts[1])?];
        let mut pods = vec![runtime.pod(&lab.hosts[0])?, runtime.pod(&lab.hosts[1])?];
        for _ in 0..2 {
            let mut third = start(&lab.hosts[2])?;
            pods.push(runtime.pod(&lab.hosts[2])?);
            for family in Family::BOTH {
                traffic::all_reach_each_other(&pods, family)?;
                for agent in &first {
                    backend.leads(agent.host(), &third, family)?;
                }
            }
            let pod = pods.pop().context("three pods")?;
            runtime.del(&pod, "eth0")?;
            pod.remove_netns()?;
            third.terminate()?;
            let (key, _) = etcd.lease_of(third.host().v4())?;
            etcd.delete(&format!("{PREFIX}/subnets/{key}"))?;
            for agent in &first {
                agent.sees(1)?;
            }
            for family in Family::BOTH {
                traffic::all_reach_each_other(&pods, family)?;
            }
        }
        Ok(())
    })
}
