//! What `tweedd events` says has happened: peers that come and go, repairs, outages, over restarts of the agent.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

fn events(agent: &Agent<'_>, words: &[&str]) -> Result<Vec<Value>> {
    let words = [&["events", "-o", "json"], words].concat();
    let output = agent.command(&words)?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {why}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(document["schema"] == 1, "{document}");
    let events = document["events"].as_array();
    events.cloned().context("no list of events")
}

/// Waits for an event of this kind with these words, and gives it.
fn told(agent: &Agent<'_>, kind: &str, words: &str) -> Result<Value> {
    eventually(&format!("{kind} with {words:?}"), || {
        let events = events(agent, &["--kind", kind])?;
        let mut found = events.iter().rev();
        let found = found.find(|event| event["text"].to_string().contains(words));
        found.cloned().with_context(|| format!("{events:?}"))
    })
}

#[test]
fn peers_repairs_and_outages_are_told_once_in_the_words_of_the_log_and_kept() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, agent) = (&lab.hosts[0], &cluster.agents[0]);
        told(agent, "agent-started", "starts as")?;
        told(agent, "ready", "ready")?;
        told(agent, "lease-held", "held")?;
        let status = agent.status()?;
        for time in ["store_answered", "lease_renewed"] {
            let time = status[time].as_u64();
            ensure!(time > Some(1_700_000_000), "{status}");
        }
        // A peer joins and leaves.
        let key = "10.244.77.0-24";
        let lease = json!({
            "PublicIP": "198.18.0.77", "BackendType": "vxlan",
            "BackendData": {"VNI": 1, "VtepMAC": "02:00:00:00:00:77"},
        });
        let path = format!("{}/subnets/{key}", tweed_lab::etcd::PREFIX);
        cluster.etcd()?.put(&path, &lease.to_string())?;
        let agent = &cluster.agents[0];
        let joined = told(agent, "peer-joined", "10.244.77.0/24 at 198.18.0.77")?;
        ensure!(joined["peer"]["public"]["v4"] == "198.18.0.77", "{joined}");
        ensure!(joined["at"].as_u64() > Some(1_700_000_000), "{joined}");
        agent.logged(&["peer joined: 10.244.77.0/24 at 198.18.0.77"])?;
        cluster.etcd()?.delete(&path)?;
        let agent = &cluster.agents[0];
        told(agent, "peer-left", "10.244.77.0/24")?;
        // A device is removed by something else.
        host.sh("ip link del flannel.1")?;
        let repair = told(agent, "repair", "link flannel.1")?;
        ensure!(
            repair["object"].to_string().contains("flannel.1"),
            "{repair}"
        );
        agent.logged(&["put back what something else", "link flannel.1"])?;
        // The store is away and back.
        cluster.etcd()?.stop()?;
        told(&cluster.agents[0], "store-away", "out of reach")?;
        cluster.etcd()?.resume()?;
        let agent = &cluster.agents[0];
        told(agent, "store-back", "answers again")?;
        let before = events(agent, &[])?;

        // Without an agent the file says it, and the next agent goes on from there.
        cluster.agents[0].terminate()?;
        let kept = events(&cluster.agents[0], &[])?;
        let texts = |events: &[Value]| -> Vec<String> {
            let texts = events.iter().map(|event| event["text"].to_string());
            texts.collect()
        };
        let (texts_before, texts_kept) = (texts(&before), texts(&kept));
        let all = texts_before.iter().all(|text| texts_kept.contains(text));
        ensure!(all, "{texts_before:?} {texts_kept:?}");
        let last = kept.last().context("no events")?;
        ensure!(last["kind"] == "agent-stopped", "{last}");
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        cluster.agents[0].ready()?;
        let agent = &cluster.agents[0];
        let started = told(agent, "agent-started", "starts as")?;
        ensure!(
            started["number"].as_u64() > last["number"].as_u64(),
            "{started}"
        );
        let now = events(agent, &[])?;
        ensure!(now.starts_with(&kept), "{now:?}");
        let one = events(agent, &["-n", "1"])?;
        ensure!(one.len() == 1, "{one:?}");
        let screen = agent.command(&["events", "--kind", "peer-joined"])?;
        let screen = String::from_utf8(screen.stdout)?;
        ensure!(screen.starts_with("TIME"), "{screen}");
        ensure!(
            screen.contains("UTC  peer-joined  peer joined: "),
            "{screen}"
        );
        Ok(())
    })
}

#[test]
fn ordinary_life_is_silent() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let agent = &cluster.agents[0];
        told(agent, "ready", "ready")?;
        let passes = |agent: &Agent<'_>| agent.metric("tweed_full_passes_total");
        let before = events(agent, &[])?;
        let start = passes(agent)?;
        // Passes that find nothing to do.
        for _ in 0..3 {
            let seen = passes(agent)?;
            agent.signal(nix::sys::signal::Signal::SIGHUP)?;
            eventually("a pass", || {
                ensure!(passes(agent)? > seen, "none yet");
                Ok(())
            })?;
        }
        ensure!(passes(agent)? >= start + 3.0, "three passes");
        let after = events(agent, &[])?;
        ensure!(after == before, "{after:?}");
        Ok(())
    })
}

#[test]
fn a_broken_file_of_events_is_set_aside_and_the_agent_goes_on() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        told(&cluster.agents[0], "ready", "ready")?;
        cluster.agents[0].terminate()?;
        let find = "find /var/lib/tweed -name events.json";
        let file = host.sh(find)?;
        let file = file.trim();
        ensure!(file.ends_with("/events.json"), "{file:?}");
        std::fs::write(host.path(file), "{")?;
        cluster.agents[0] = Agent::start(lab, host, &cluster.launch)?;
        let agent = &cluster.agents[0];
        agent.logged(&["can't be read", "events.json.bad"])?;
        told(agent, "ready", "ready")?;
        host.sh(&format!("test -e {file}.bad"))?;
        // As soon as there is something to write, the file is whole again.
        eventually("it is written", || {
            host.sh(&format!("grep -q agent-started {file}"))
        })?;
        Ok(())
    })
}
