//! Subnets that are reserved for nodes, and subnets that nodes have lost: no restart takes a subnet from under its pods.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{OUR_PLUGINS, Runtime};
use tweed_lab::document::{self, blocks, with};
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::systemd::Systemd;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use crate::documents::{BARE_METAL, move_to_documented_addresses};

const PINNED: &str = "10.244.7.0/24";

#[test]
fn a_running_node_moves_to_the_subnet_that_is_reserved_for_it_as_the_document_says() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        move_to_documented_addresses(lab)?;
        let host = &lab.hosts[1];
        let systemd = Systemd::bare(lab, host)?;
        let place = |path: &str, text: String| -> Result<()> {
            let path = host.path(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            Ok(fs::write(path, text)?)
        };
        let unit = fs::read_to_string(document::root().join("manifests/systemd/tweedd.service"))?;
        place("/etc/systemd/system/tweedd.service", unit)?;
        let endpoint = Etcd::endpoint();
        place(
            "/etc/tweed/tweedd.env",
            format!("TWEED_ETCD_ENDPOINTS={endpoint}\n"),
        )?;
        fs::copy(&lab.binaries.tweedd, host.path("/usr/local/bin/tweedd"))?;
        fs::copy(
            &lab.binaries.plugin,
            host.path(format!("{OUR_PLUGINS}/tweed")),
        )?;
        systemd.ctl(&["daemon-reload"])?;
        systemd.ctl(&["start", "tweedd"])?;
        let status = || -> Result<String> {
            let words = ["sh", "-c", "/usr/local/bin/tweedd status || true"];
            host.place().cmd(words)
        };
        let lease = || -> Result<String> {
            let words = status()?;
            let row = words.lines().find_map(|line| line.strip_prefix("lease "));
            let subnet = row.and_then(|row| row.split_whitespace().next());
            subnet.map(str::to_owned).context("no lease")
        };
        let ready = || {
            eventually("it is ready", || {
                let words = status()?;
                ensure!(words.contains("ready    yes"), "{words}");
                Ok(words)
            })
        };
        ready()?;
        let held = lease()?;
        let put = blocks(BARE_METAL, "the_blocks_of_bare_metal_do_what_they_say")?;
        with(&put, "PublicIPv6")?.run(lab.switch.place(), Path::new("/"))?;
        eventually("the reservation is named", || {
            let words = status()?;
            ensure!(
                words.contains("reserved 10.244.7.0-24: reserved for this node"),
                "{words}"
            );
            ensure!(
                !words.contains("refused") && words.contains("ready    yes"),
                "{words}"
            );
            Ok(())
        })?;
        systemd.ctl(&["restart", "tweedd"])?;
        ready()?;
        ensure!(lease()? == held, "a restart moved the node to {}", lease()?);

        let test =
            "a_running_node_moves_to_the_subnet_that_is_reserved_for_it_as_the_document_says";
        let all = blocks(BARE_METAL, test)?;
        let moves = || with(&all, "leases release")?.run(host.place(), Path::new("/"));
        // Not drained: the pod keeps its network.
        let pod = Runtime::tweed().pod(host)?;
        moves()?;
        ready()?;
        ensure!(lease()? == held, "its pod's subnet is gone: {}", lease()?);
        Runtime::tweed().del(&pod, "eth0")?;
        moves()?;
        ready()?;
        ensure!(lease()? == PINNED, "it has {}", lease()?);
        systemd.ctl(&["stop", "tweedd"]).map(drop)
    })
}

/// Gives a host's lease to another node; says which it was, with its key in etcd.
fn robbed(etcd: &Etcd<'_>, host: &Host) -> Result<(String, String)> {
    let (lease, mut thief) = etcd.lease_of(host.v4())?;
    let key = format!("{PREFIX}/subnets/{lease}");
    thief["PublicIP"] = json!("198.18.0.253");
    thief["BackendData"]["VtepMAC"] = json!("a2:00:00:00:00:fd");
    etcd.put(&key, &thief.to_string())?;
    Ok((lease, key))
}

#[test]
fn a_node_goes_back_to_the_subnet_of_its_pods_once_the_other_lease_is_gone() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        cluster.talks(Family::V4)?;
        let host = &lab.hosts[0];
        let (old, key) = robbed(cluster.etcd()?, host)?;
        let etcd = cluster.etcd()?;
        let (new, _) = eventually("another subnet is leased", || etcd.lease_of(host.v4()))?;
        ensure!(new != old, "both hold {old}");
        eventually("it says that pods sit on the earlier subnet", || {
            let status = cluster.agents[0].status()?;
            let reasons = status["not_ready"].to_string();
            ensure!(
                reasons.contains("pods sit on an earlier subnet"),
                "{reasons}"
            );
            Ok(())
        })?;
        cluster.etcd()?.delete(&key)?;
        eventually("it is back", || {
            let (now, _) = cluster.etcd()?.lease_of(host.v4())?;
            ensure!(now == old, "it has {now}");
            Ok(())
        })?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_reservation_on_which_pods_sit_is_taken_at_once_and_one_for_another_node_is_no_peer()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let nobody = json!({ "PublicIP": "198.18.0.99", "PublicIPv6": null });
        let reserved = format!("{PREFIX}/subnets/10.244.99.0-24");
        cluster.etcd()?.put(&reserved, &nobody.to_string())?;
        eventually("it is listed as what it is", || {
            let words = ["status", "--peers", "--output", "json"];
            let output = cluster.agents[0].command(&words)?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let list = status["peer_list"].as_array().context("no list")?;
            let states: Vec<_> = list.iter().map(|peer| &peer["state"]).collect();
            ensure!(states == ["peer", "reserved"], "{states:?}");
            ensure!(status["peers"] == 1, "{}", status["peers"]);
            Ok(())
        })?;
        let (_, key) = robbed(cluster.etcd()?, host)?;
        let etcd = cluster.etcd()?;
        eventually("another subnet is leased", || etcd.lease_of(host.v4()))?;
        let mine = json!({ "PublicIP": host.v4(), "PublicIPv6": null });
        cluster.etcd()?.put(&key, &mine.to_string())?;
        eventually("the reservation is taken", || {
            let text = cluster.etcd()?.ctl(&["get", &key, "--print-value-only"])?;
            ensure!(
                text.contains("VtepMAC") && text.contains(&host.v4().to_string()),
                "{text}"
            );
            Ok(())
        })?;
        let refused = cluster.agents[0].status()?["refused"].to_string();
        ensure!(refused == "[]", "{refused}");
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_node_starts_from_saved_peers_without_taking_a_reservation_for_one() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let nobody = json!({ "PublicIP": "198.18.0.99", "PublicIPv6": null });
        etcd.put(
            &format!("{PREFIX}/subnets/10.244.99.0-24"),
            &nobody.to_string(),
        )?;
        let host = &lab.hosts[0];
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        agent.ready()?;
        let saved = host.path("/var/lib/tweed/tweed/peers.json");
        eventually("the peers are saved", || {
            ensure!(saved.exists(), "not yet");
            Ok(())
        })?;
        let text = fs::read_to_string(&saved)?;
        ensure!(!text.contains("10.244.99.0"), "{text}");
        etcd.stop()
    })
}
