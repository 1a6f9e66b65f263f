//! An agent that is killed while it programs the kernel.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan_dual;
use tweed_lab::topology::Topology;
use tweed_model::Family;

/// The state folder of the first instance.
const STATE: &str = "/var/lib/tweed/tweed";
/// What an agent keeps in its own.
const SAVED: [&str; 5] = [
    "agent.json",
    "identity.json",
    "lease.json",
    "lock",
    "peers.json",
];

#[test]
fn kill_9_at_any_moment_of_programming_leaves_nothing_that_the_next_start_does_not_mend()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        for delay in [5, 15, 25, 35, 45, 60, 80] {
            cluster.agents[0].kill()?;
            host.sh("ip link del flannel.1")?;
            host.sh("nft flush ruleset")?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            thread::sleep(Duration::from_millis(delay));
            agent.kill()?;
            let mut agent = Agent::start(lab, host, &cluster.launch)?;
            agent.ready()?;
            cluster.agents[0] = agent;
            cluster.peer(1, Family::V4)?.is_programmed(host)?;
            cluster.peer(1, Family::V6)?.is_programmed(host)?;
            let left = fs::read_dir(host.path(STATE))?.flatten();
            let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let strange: Vec<_> = left.filter(|name| !SAVED.contains(&&**name)).collect();
            // The file that was being written when the agent was killed.
            ensure!(strange.len() <= 1, "files pile up: {strange:?}");
        }
        cluster.talks(Family::V4)?;
        cluster.talks(Family::V6)
    })
}
