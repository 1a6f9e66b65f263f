//! Two plain dockerd hosts, whose containers reach each other though Docker drops what it does not know.
//!
//! ```text
//!  container ── docker0 (--bip from subnet.env) ── flannel.1 ═══ flannel.1 ── docker0 ── container
//! ```

use std::fs;

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::docker::{Docker, options};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;
use tweed_model::Family;

#[test]
fn containers_of_two_dockerd_hosts_reach_each_other_though_docker_drops_forwarded_packets()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let agents = Agent::everywhere(lab, &Launch::etcd().arg("--ip-masq"))?;
        let mut dockers = Vec::new();
        for agent in &agents {
            let host = agent.host();
            let tweedd = lab.binaries.tweedd.display();
            host.sh(&format!("{tweedd} docker-opts -d /run/docker_opts.env"))?;
            let options = options(&fs::read_to_string(host.path("/run/docker_opts.env"))?)?;
            dockers.push(Docker::start(host, &options)?);
            // Docker does so itself where it is the first to switch forwarding on.
            host.sh("iptables -P FORWARD DROP")?;
        }
        let first = dockers[0].container()?;
        let second = dockers[1].container()?;
        ensure!(
            agents[0].subnet(Family::V4)?.contains(&first.addr),
            "{}",
            first.addr
        );
        eventually("containers reach each other", || {
            first.ping(second.addr)?;
            second.ping(first.addr)
        })?;

        // Docker starts afresh, or somebody flushes: our rules in its chain are back.
        for agent in &agents {
            agent.host().sh("iptables -F FORWARD")?;
        }
        eventually("and again after a flush", || first.ping(second.addr))?;
        let rules = lab.hosts[0].sh("iptables-save -t filter")?;
        let accepts: Vec<_> = rules
            .lines()
            .filter(|line| line.starts_with("-A FORWARD") && line.ends_with("ACCEPT"))
            .collect();
        let ours = accepts
            .iter()
            .find(|line| line.contains("10.244.0.0/16"))
            .with_context(|| format!("no rule of ours that iptables-save can show: {accepts:?}"))?;
        ensure!(ours.contains("--comment"), "unmarked: {ours}");
        Ok(())
    })
}
