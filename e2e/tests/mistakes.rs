//! An operator's mistakes are asked about, named and bounded, before and after they are made.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::PREFIX;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

fn another_network() -> Value {
    json!({ "Network": "10.99.0.0/16", "Backend": { "Type": "vxlan" } })
}

/// `tweedd config set` as a script calls it. Exit code, and what it says on standard error.
fn set(lab: &Lab, launch: &Launch, config: &Value) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(&lab.binaries.tweedd);
    command
        .args(["config", "set"])
        .args(launch.store_args())
        .arg("-");
    let place = lab.hosts[0].place();
    let output = place.output(&mut command, &config.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), said))
}

#[test]
fn a_network_that_ends_leases_is_not_written_unasked_and_pods_on_the_earlier_subnet_are_reported()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let own = cluster.agents[0].subnet(Family::V4)?;
        let (code, said) = set(lab, &cluster.launch, &another_network())?;
        ensure!(code == Some(1), "{code:?}: {said}");
        let lease = own.to_string().replace('/', "-");
        for part in [
            "+ network 10.99.0.0/16",
            "- network 10.244.0.0/16",
            &lease,
            "--yes",
        ] {
            ensure!(said.contains(part), "{part} is not in {said}");
        }
        let stands = cluster.agents[0].store_command(&["config", "get"])?;
        ensure!(stands.contains("10.244.0.0/16"), "{stands}");
        // What keeps all leases needs no word.
        let harmless = json!({ "Network": "10.244.0.0/16", "Backend": { "Type": "vxlan" } });
        let (code, said) = set(lab, &cluster.launch, &harmless)?;
        ensure!(code == Some(0), "{code:?}: {said}");

        cluster.launch.set_config(lab, &another_network())?;
        eventually("the pods' earlier subnet is told of", || {
            let status = cluster.agents[0].status()?;
            let reasons = status["not_ready"].to_string();
            for part in ["pods sit on an earlier subnet", "cni0", "10.99."] {
                ensure!(reasons.contains(part), "{part} is not in {status}");
            }
            ensure!(status["ready"] == json!(false), "{status}");
            Ok(())
        })?;
        // Back again, a node that gets its subnet back is ready.
        let (code, said) = set(lab, &cluster.launch, &vxlan())?;
        ensure!(
            code == Some(1) && said.contains("leases become invalid"),
            "{said}"
        );
        Ok(())
    })
}

#[test]
fn a_flood_of_entries_and_a_huge_one_cost_a_few_short_lines() -> Result<()> {
    const MANY: usize = 60;
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let huge = format!(r#"{{"PublicIP":"{}"}}"#, "9".repeat(60_000));
        let etcd = cluster.etcd()?;
        etcd.put(&format!("{PREFIX}/subnets/10.244.200.0-24"), &huge)?;
        for number in 1..MANY {
            etcd.put(&format!("{PREFIX}/subnets/nonsense-{number}"), "{}")?;
        }
        let agent = &cluster.agents[0];
        eventually("all are counted", || {
            let broken = agent.metric("tweed_broken_entries")?;
            ensure!(broken == MANY as f64, "{broken} are counted");
            let log = agent.log()?;
            ensure!(log.contains("more entries of the store"), "{log}");
            Ok(())
        })?;
        let log = agent.log()?;
        let named = log.matches("store entry ignored").count();
        ensure!(
            (1..=20).contains(&named),
            "{named} entries are named in the log"
        );
        let longest = log.lines().map(str::len).max().unwrap_or(0);
        ensure!(longest < 4_200, "a line has {longest} bytes");
        let status = agent.status()?.to_string();
        ensure!(
            status.len() < 60_000,
            "the status has {} bytes",
            status.len()
        );
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_misspelt_variable_and_key_are_named_with_the_one_that_is_meant() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let config = json!({
            "Network": "10.244.0.0/16", "Netwrok": "x", "Backend": { "Type": "vxlan", "Prot": 1 }
        });
        let cluster =
            Cluster::on_files_with(lab, &config, |launch| launch.env("TWEED_IFCE", "eth9"))?;
        let log = cluster.agents[0].log()?;
        for part in [
            "TWEED_IFCE",
            "TWEED_IFACE",
            "Netwrok (Network?)",
            "Backend.Prot (Port?)",
        ] {
            ensure!(log.contains(part), "{part} is not in {log}");
        }
        Ok(())
    })
}
