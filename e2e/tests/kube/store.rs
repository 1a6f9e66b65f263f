//! The lease store on a real API server, with real agents: Node objects are made by hand, so that no kubelet is needed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::peer_routes;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::{TIMEOUT, eventually};
use tweed_model::Family;

use crate::agents::{PREFIX, Scene, node};
use crate::events;
use crate::harness::Report;
use crate::moves;
use crate::restored;

const NAMES: [&str; 12] = [
    "agents_with_the_manifest_s_rights_lease_their_pod_cidrs_and_pods_talk",
    "removed_and_edited_annotations_are_restored_and_no_packet_is_lost",
    "an_overwritten_public_address_is_announced_and_taken_back_live",
    "peers_follow_a_node_to_its_new_address",
    "a_node_that_lost_its_state_folder_announces_what_it_did_before",
    "an_agent_goes_on_with_the_second_api_server_when_the_first_one_dies",
    "a_node_that_flannel_annotated_is_a_peer_and_a_bad_one_is_refused_by_name",
    "network_unavailable_is_false_and_is_put_back_and_named_taints_go",
    "a_changed_configuration_file_is_taken_over",
    "without_the_api_server_pods_talk_and_an_agent_starts_from_its_saved_state",
    "a_node_that_is_made_anew_with_another_pod_cidr_gets_another_session",
    "after_a_restore_from_a_backup_a_new_node_is_a_peer_within_seconds",
];

const SCENARIOS: [fn(&mut Scene<'_>) -> Result<()>; 12] = [
    begin,
    repair,
    overwrite,
    moves::address,
    moves::state_lost,
    moves::failover,
    hybrid,
    condition,
    reconfigure,
    outage,
    anew,
    restored::backup,
];

pub(crate) fn play(report: &mut Report) {
    if !report.wants(&NAMES) {
        return;
    }
    let outcome = Topology::hosts(3).build().and_then(|lab| {
        let mut scene = Scene::start(&lab, &vxlan())?;
        // The first scenario starts the agents that the others need.
        let mut begun = match report.wants(&NAMES[..1]) {
            true => Ok(()),
            false => begin(&mut scene),
        };
        for (name, scenario) in NAMES.iter().zip(SCENARIOS) {
            if !report.wants(&[name]) {
                continue;
            }
            let begun = std::mem::replace(&mut begun, Ok(()));
            if !report.run(name, || begun.and_then(|()| scenario(&mut scene))) {
                lab.dump();
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        report.run(NAMES[0], || Err(error));
    }
}

/// The name of an annotation.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}/{name}")
}

fn begin(scene: &mut Scene<'_>) -> Result<()> {
    for (name, subnet) in [
        ("host1", "10.244.0.0/24"),
        ("host2", "10.244.1.0/24"),
        ("host3", "10.244.2.0/24"),
    ] {
        scene.node(name, &[subnet])?;
    }
    scene.everywhere()?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)?;
    let subnet = scene.agents[0].subnet(Family::V4)?.to_string();
    ensure!(
        subnet == "10.244.0.0/24",
        "the podCIDR is not used: {subnet}"
    );
    let written = scene.annotations("host1")?;
    let data = written[key("backend-data")].as_str().context("no data")?;
    ensure!(
        data.starts_with(r#"{"VNI":1,"VtepMAC":""#) && data.len() == 39,
        "flannel can't read {data}"
    );
    ensure!(
        written[key("public-ip")] == json!(scene.host(0).v4())
            && written[key("backend-type")] == "vxlan"
            && written[key("kube-subnet-manager")] == "true",
        "{written}"
    );
    let listed = scene.agents[0].store_command(&["leases", "list"])?;
    ensure!(
        listed.contains("host3") && listed.contains("10.244.2.0/24"),
        "{listed}"
    );
    Ok(())
}

fn repair(scene: &mut Scene<'_>) -> Result<()> {
    let wanted = scene.annotations("host2")?;
    let stream = Stream::start(&scene.pods[0], &scene.pods[1], Family::V4)?;
    let gone: Vec<_> = [
        "backend-data",
        "backend-type",
        "kube-subnet-manager",
        "public-ip",
    ]
    .map(|name| format!("{}-", key(name)))
    .into();
    scene.annotate("host2", &gone)?;
    restored(scene, &wanted)?;
    scene.annotate("host2", &[format!("{}=garbage", key("backend-data"))])?;
    restored(scene, &wanted)?;
    let loss = stream.stop()?;
    ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");
    // A wrong value that can be read counts until it is put back.
    scene.annotate("host2", &[format!("{}=host-gw", key("backend-type"))])?;
    restored(scene, &wanted)?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)
}

fn restored(scene: &Scene<'_>, wanted: &Value) -> Result<()> {
    eventually("the annotations are back", || {
        let found = scene.annotations("host2")?;
        ensure!(found == *wanted, "{found}");
        Ok(())
    })
}

fn overwrite(scene: &mut Scene<'_>) -> Result<()> {
    let own = scene.host(1).v4().to_string();
    let overwrite = key("public-ip-overwrite");
    scene.annotate("host2", &[format!("{overwrite}=198.18.0.77")])?;
    let mac = tweed_lab::observe::mac(scene.host(1), "flannel.1")?;
    entry(scene.host(0), &mac, "198.18.0.77")?;
    scene.annotate("host2", &[format!("{overwrite}-")])?;
    entry(scene.host(0), &mac, &own)?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)
}

/// Waits until a host sends what is for this MAC to that address.
pub(crate) fn entry(host: &Host, mac: &str, addr: &str) -> Result<()> {
    eventually("the peer is reached at its announced address", || {
        let table = host.sh("bridge fdb show dev flannel.1")?;
        let line = table.lines().find(|line| line.starts_with(mac));
        let line = line.with_context(|| format!("no entry for {mac} in {table}"))?;
        ensure!(line.contains(&format!("dst {addr} ")), "{line}");
        Ok(())
    })
}

pub(crate) fn foreign(number: u8) -> Value {
    let mut node = node(
        &format!("flannel{number}"),
        &[format!("10.244.{number}.0/24").as_str()],
    );
    let data = format!(r#"{{"VNI":1,"VtepMAC":"a2:00:00:00:00:{number:02x}"}}"#);
    node["metadata"]["annotations"] = json!({
        key("backend-data"): data,
        key("backend-type"): "vxlan",
        key("kube-subnet-manager"): "true",
        key("public-ip"): format!("198.18.0.{number}"),
    });
    node
}

fn hybrid(scene: &mut Scene<'_>) -> Result<()> {
    scene.api.apply(&foreign(50).to_string())?;
    let mut bad = foreign(51);
    bad["metadata"]["annotations"][key("public-ip")] = json!("198.18.0");
    scene.api.apply(&bad.to_string())?;
    let mut outside = foreign(52);
    outside["spec"] = json!({ "podCIDR": "10.99.0.0/24", "podCIDRs": ["10.99.0.0/24"] });
    scene.api.apply(&outside.to_string())?;
    let host = scene.host(0);
    entry(host, "a2:00:00:00:00:32", "198.18.0.50")?;
    eventually("the others are refused by name", || {
        let status = scene.agents[0].status()?;
        let broken = status["broken"]["node flannel51"].to_string();
        ensure!(broken.contains("public-ip"), "{status}");
        let refused = status["refused"].to_string();
        ensure!(refused.contains("10.99.0.0/24 is outside"), "{status}");
        Ok(())
    })?;
    for name in ["flannel50", "flannel51", "flannel52"] {
        scene.api.kubectl(&["delete", "node", name])?;
    }
    eventually("a deleted node is no peer", || {
        let routes = peer_routes(host, Family::V4)?;
        ensure!(routes.len() == 2, "{routes:?}");
        Ok(())
    })
}

fn condition(scene: &mut Scene<'_>) -> Result<()> {
    let stands = |status| events::unavailable(&scene.api, "host1", status, TIMEOUT);
    stands("False")?;
    let other = json!({ "status": { "conditions": [{
        "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated",
        "message": "by another program", "lastTransitionTime": "2026-01-02T03:04:05Z",
    }] } });
    let patch = format!("--patch={other}");
    let words = ["patch", "node", "host1", "--subresource=status", &patch];
    scene.api.kubectl(&words)?;
    stands("False")?;
    // Of the taints only the named one goes; the rights for that are not in the manifest.
    scene.api.kubectl(&[
        "create",
        "clusterrole",
        "taints",
        "--verb=patch",
        "--resource=nodes",
    ])?;
    scene.api.kubectl(&[
        "create",
        "clusterrolebinding",
        "taints",
        "--clusterrole=taints",
        "--user=tweed",
    ])?;
    for taint in [
        "example.com/no-network:NoSchedule",
        "example.com/kept:NoSchedule",
    ] {
        scene.api.kubectl(&["taint", "node", "host1", taint])?;
    }
    eventually("the taint is gone", || {
        let taints = scene.api.get(&["node", "host1"])?["spec"]["taints"].to_string();
        ensure!(!taints.contains("no-network"), "{taints}");
        ensure!(taints.contains("example.com/kept"), "{taints}");
        Ok(())
    })
}

fn reconfigure(scene: &mut Scene<'_>) -> Result<()> {
    let mut changed = vxlan();
    changed["Backend"]["Port"] = json!(8999);
    fs::write(&scene.config, changed.to_string())?;
    for host in &scene.lab.hosts {
        eventually("the device has the new port", || {
            let link = host.sh("ip -d link show flannel.1")?;
            ensure!(link.contains("dstport 8999"), "{link}");
            Ok(())
        })?;
    }
    traffic::all_reach_each_other(&scene.pods, Family::V4)
}

fn outage(scene: &mut Scene<'_>) -> Result<()> {
    let before = scene.annotations("host1")?;
    let stream = Stream::start(&scene.pods[0], &scene.pods[1], Family::V4)?;
    scene.api.stop()?;
    eventually("status tells", || {
        let status = scene.agents[0].status()?["lease"].to_string();
        ensure!(status.contains("unsure"), "{status}");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    let loss = stream.stop()?;
    ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");
    let host = scene.host(0);
    host.sh("ip link del flannel.1")?;
    eventually("the device is back", || host.sh("ip link show flannel.1"))?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)?;
    // A restart, and a reboot as far as the kernel is concerned. Peers are saved at most every five seconds.
    for key in ["10.244.1.0-24", "10.244.2.0-24"] {
        let search = format!("grep -rq --include=peers.json {key} /var/lib/tweed");
        eventually("the peers are saved", || host.sh(&search))?;
    }
    scene.agents.remove(0).terminate()?;
    host.sh("ip link del flannel.1")?;
    scene.agent(0)?;
    let last = scene.agents.len() - 1;
    scene.agents.swap(0, last);
    traffic::all_reach_each_other(&scene.pods, Family::V4)?;
    // Meanwhile a node appears and the history is forgotten.
    scene.api.resume()?;
    scene.api.etcd().compact()?;
    scene.api.apply(&foreign(60).to_string())?;
    entry(host, "a2:00:00:00:00:3c", "198.18.0.60")?;
    scene.api.kubectl(&["delete", "node", "flannel60"])?;
    scene.agents[0].ready()?;
    let after = scene.annotations("host1")?;
    ensure!(after == before, "{before} became {after}");
    Ok(())
}

fn anew(scene: &mut Scene<'_>) -> Result<()> {
    let mac = tweed_lab::observe::mac(scene.host(2), "flannel.1")?;
    scene.api.kubectl(&["delete", "node", "host3"])?;
    eventually("status tells", || {
        let lease = scene.agents.iter().find(|agent| agent.host().index == 2);
        let status = lease.context("an agent")?.status()?["lease"].to_string();
        ensure!(status.contains("deleted"), "{status}");
        Ok(())
    })?;
    // Registered again, and no subnet is left for it.
    scene.node("host3", &[])?;
    events::said(&scene.api, "host3", "PodCIDRMissing", "no podCIDR yet")?;
    let patch = r#"--patch={"spec":{"podCIDR":"10.244.33.0/24","podCIDRs":["10.244.33.0/24"]}}"#;
    scene.api.kubectl(&["patch", "node", "host3", patch])?;
    let agent = scene.agents.iter().find(|agent| agent.host().index == 2);
    let agent = agent.context("an agent")?;
    eventually("subnet.env follows", || {
        let subnet = agent.subnet(Family::V4)?.to_string();
        ensure!(subnet == "10.244.33.0/24", "{subnet}");
        Ok(())
    })?;
    agent.logged(&["the podCIDR of the Node is 10.244.33.0/24 now"])?;
    let host = scene.host(0);
    eventually("peers follow", || {
        let routes: Vec<_> = peer_routes(host, Family::V4)?;
        let found = routes.iter().any(|net| net.to_string() == "10.244.33.0/24");
        ensure!(found && routes.len() == 2, "{routes:?}");
        Ok(())
    })?;
    let kept = tweed_lab::observe::mac(scene.host(2), "flannel.1")?;
    ensure!(kept == mac, "the MAC changed from {mac} to {kept}");
    Ok(())
}
