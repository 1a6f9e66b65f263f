//! What `tweedd top` counts, and where it says that it can't.

use std::thread;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{config, vxlan};
use tweed_lab::topology::Topology;
use tweed_model::Family;

#[test]
fn top_names_the_peer_that_pods_talk_to_with_its_rate() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let udp = config(&[Family::V4], &json!({ "Type": "udp" }));
        let cluster = Cluster::on_etcd(lab, &udp)?;
        cluster.talks(Family::V4)?;
        let target = cluster.pods[1].v4()?;
        let ping = format!("ping -n -i 0.05 -s 1000 -c 100 {target} || true");
        let agent = &cluster.agents[0];
        let words = ["top", "--once", "--every", "2", "-o", "json"];
        let rates: Value = thread::scope(|scope| {
            let pinging = scope.spawn(|| cluster.pods[0].place().cmd(["sh", "-c", &ping]));
            let asked = agent.command(&words);
            ensure!(pinging.join().is_ok_and(|pinged| pinged.is_ok()), "no ping");
            Ok(serde_json::from_slice(&asked?.stdout)?)
        })?;
        let (first, second) = (&rates["peers"][0], &rates["peers"][1]);
        ensure!(first["public"] == lab.hosts[1].v4().to_string(), "{rates}");
        for way in ["sent", "received"] {
            // Twenty a second, of 1,028 bytes each; the machine may be slow.
            let bytes = first[way]["bytes"].as_u64().unwrap_or_default();
            let packets = first[way]["packets"].as_u64().unwrap_or_default();
            ensure!((5..=30).contains(&packets), "{rates}");
            ensure!((5_000..=32_000).contains(&bytes), "{rates}");
            ensure!(second[way]["packets"].as_u64() < Some(3), "{rates}");
        }
        Ok(())
    })
}

#[test]
fn top_says_that_the_kernel_counts_nothing_for_each_node() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let output = cluster.agents[0].command(&["top", "--once"])?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{said}");
        ensure!(said.contains("backend vxlan"), "{said}");
        Ok(())
    })
}
