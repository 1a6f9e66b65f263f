//! A node on which nothing happens costs next to nothing: its agent sleeps.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{vxlan, vxlan_dual};
use tweed_lab::topology::Topology;

/// Every period of the agent but those of minutes has come round by then.
const LASTS: Duration = Duration::from_secs(30);
/// Of all threads of the agent, in a minute.
const MOST: u64 = 180;

/// How often each thread of the agent has gone to sleep, by the thread's name.
fn sleeps(agent: &Agent<'_>) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let folder = thread?.path();
        // A thread of the pool may end meanwhile.
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let status = read("status");
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = count.map_or(Ok(0), |count| count.trim().parse::<u64>());
        *all.entry(read("comm").trim().to_owned()).or_default() += count?;
    }
    Ok(all)
}

fn wakes_seldom(config: &Value) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_files(lab, config)?;
        let agent = &mut cluster.agents[0];
        agent.ready()?;
        // What follows a start is over.
        thread::sleep(Duration::from_secs(5));
        let before = sleeps(agent)?;
        thread::sleep(LASTS);
        let after = sleeps(agent)?;
        let times = |name: &String, count: &u64| {
            let before = before.get(name).copied().unwrap_or_default();
            count.saturating_sub(before) * 60 / LASTS.as_secs()
        };
        let each = after.iter().map(|(name, count)| (name, times(name, count)));
        let each: BTreeMap<&String, u64> = each.filter(|(_, times)| *times > 0).collect();
        let sum: u64 = each.values().sum();
        println!("{sum} wake-ups a minute: {each:?}");
        ensure!(sum <= MOST, "{sum} wake-ups a minute: {each:?}");
        agent.ready().context("it still works")?;
        Ok(())
    })
}

#[test]
fn an_agent_with_nothing_to_do_wakes_less_than_three_times_a_second() -> Result<()> {
    wakes_seldom(&vxlan())?;
    wakes_seldom(&vxlan_dual())
}
