//! A host without peers, and a second one that joins it.

use anyhow::{Result, ensure};
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cni::Runtime;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_model::Family;

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

#[test]
fn hosts_that_join_later_are_reached_at_once() -> Result<()> {
    let mut lab = Topology::hosts(1).build()?;
    lab.join(0)?;
    let outcome = (|| {
        let etcd = Etcd::start(&lab)?;
        etcd.put_config(&vxlan())?;
        let mut first = Agent::start(&lab, &lab.hosts[0], &Launch::etcd())?;
        first.ready()?;
        let mut second = Agent::start(&lab, &lab.hosts[1], &Launch::etcd())?;
        second.ready()?;
        let runtime = Runtime::tweed();
        let pods = [runtime.pod(&lab.hosts[0])?, runtime.pod(&lab.hosts[1])?];
        traffic::all_reach_each_other(&pods, Family::V4)
    })();
    if outcome.is_err() {
        lab.dump();
    }
    outcome
}
