//! What the status says when something is not as it should be.

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::Launch;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::raw::{PORT, on_uplink};
use super::udp;

/// What the status says to people about what the data plane carries.
pub(super) fn words(agent: &Agent<'_>) -> Result<String> {
    Ok(String::from_utf8(agent.command(&["status"])?.stdout)?)
}

#[test]
fn the_status_names_drops_by_reason_errors_and_peers_that_refuse() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        // Probes would be counted too.
        let quiet = |launch: Launch| launch.arg("--probes=false");
        let mut cluster = Cluster::on_etcd_with(lab, &udp(&[Family::V4]), quiet)?;
        cluster.talks(Family::V4)?;
        let text = words(&cluster.agents[0])?;
        for trouble in ["dropped for no_route", "errors at", "offloads", "refused"] {
            ensure!(!text.contains(trouble), "{text}");
        }
        // To a node that is none, by bytes that are no packet, and to a node where nobody listens.
        let from = &cluster.pods[0];
        for _ in 0..3 {
            let answered = traffic::ping(from.place(), "10.244.250.1".parse()?);
            ensure!(answered.is_err(), "nobody has that address");
        }
        let garbage = on_uplink(&lab.hosts[1], 0)?;
        for _ in 0..2 {
            garbage.send_to(&[0xff; 40], (lab.hosts[0].v4(), PORT))?;
        }
        cluster.agents[1].kill()?;
        let refused = traffic::ping(from.place(), cluster.pods[1].v4()?);
        ensure!(refused.is_err(), "nobody carries that");
        let (agent, peer) = (&cluster.agents[0], lab.hosts[1].v4());
        eventually("the status names all of it", || {
            let text = words(agent)?;
            for line in [
                "dropped for no_route: 3".to_owned(),
                "dropped for version: 2".to_owned(),
                "errors at underlay: 1".to_owned(),
                format!("{peer}:{PORT} refused 1 datagrams"),
            ] {
                let named = text.lines().any(|said| said.trim() == line);
                ensure!(named, "no {line:?} in:\n{text}");
            }
            let all = text.lines().find(|line| line.starts_with("carried"));
            let all = all.context("what was carried")?;
            ensure!(!all.ends_with(" 0 dropped"), "{all}");
            Ok(())
        })?;
        for (metric, count) in [
            (r#"drops_total{reason="no_route"}"#, 3.0),
            (r#"drops_total{reason="version"}"#, 2.0),
            (r#"errors_total{at="underlay"}"#, 1.0),
        ] {
            let told = agent.metric(&format!("tweed_data_plane_{metric}"))?;
            ensure!(told == count, "{metric} is {told}");
        }
        Ok(())
    })
}
