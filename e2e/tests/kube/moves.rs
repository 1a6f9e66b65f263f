//! What changes under an agent that goes on: the node's address, its state folder, the API server that it speaks to.

use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::kube::ApiServer;
use tweed_lab::kube::control::PORT;
use tweed_lab::topology::{Host, Lab};
use tweed_lab::wait::eventually;
use tweed_lab::{observe, traffic};
use tweed_model::Family;

use crate::agents::Scene;
use crate::store::{entry, key};

/// A second way to the API server.
const OTHER_PORT: u16 = 7443;

/// A node's address changes, in the kernel and as its InternalIP: the others send to the new one. And back.
pub(crate) fn address(scene: &mut Scene<'_>) -> Result<()> {
    let host = scene.host(1);
    let mac = observe::mac(host, "flannel.1")?;
    let old = host.v4();
    let new: IpAddr = "198.18.0.72".parse()?;
    for (from, to) in [(old, new), (new, old)] {
        let start = Instant::now();
        change_address(host, from, to)?;
        let addresses = json!([{ "type": "InternalIP", "address": to }]);
        let patch = format!(
            "--patch={}",
            json!({ "status": { "addresses": addresses } })
        );
        let words = ["patch", "node", host.name(), "--subresource=status", &patch];
        scene.api.kubectl(&words)?;
        for other in [0, 2] {
            entry(scene.host(other), &mac, &to.to_string())?;
        }
        println!(
            "  peers sent to {to} {:.1?} after the change",
            start.elapsed()
        );
        traffic::all_reach_each_other(&scene.pods, Family::V4)?;
        let announced = scene.annotations(host.name())?;
        ensure!(announced[key("public-ip")] == json!(to), "{announced}");
    }
    Ok(())
}

fn change_address(host: &Host, from: IpAddr, to: IpAddr) -> Result<()> {
    let gateway = Lab::gateway(0).v4.context("segment 0 has IPv4")?;
    let script = format!(
        "addr del {from}/24 dev eth0\naddr add {to}/24 dev eth0\nroute replace default via {gateway}\n"
    );
    let mut ip = Command::new("ip");
    host.place()
        .cmd_with(ip.args(["-batch", "-"]), &script)
        .map(drop)
}

/// A node comes back with nothing but its Node object: MAC and public address are those that stand there, even the
/// overwritten one, and nothing is written.
pub(crate) fn state_lost(scene: &mut Scene<'_>) -> Result<()> {
    let overwrite = key("public-ip-overwrite");
    scene.annotate("host2", &[format!("{overwrite}=198.18.0.77")])?;
    let before = eventually("the address is announced", || {
        let announced = scene.annotations("host2")?;
        ensure!(announced[key("public-ip")] == "198.18.0.77", "{announced}");
        Ok(announced)
    })?;
    let mac = observe::mac(scene.host(1), "flannel.1")?;
    let taken = scene.restart(1, &[], |host| {
        host.sh("ip link del flannel.1")?;
        host.sh("rm -rf /run/flannel")?;
        host.sh("find /var/lib/tweed -type f -delete").map(drop)
    })?;
    println!("  ready {taken:.1?} after a start without saved state");
    let found = observe::mac(scene.host(1), "flannel.1")?;
    ensure!(found == mac, "the MAC was {mac}, it is {found}");
    let after = scene.annotations("host2")?;
    ensure!(after == before, "{before} became {after}");
    scene.annotate("host2", &[format!("{overwrite}-")])?;
    let own = scene.host(1).v4().to_string();
    entry(scene.host(0), &mac, &own)?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)
}

/// Of two API servers the first one dies: the agent goes on with the second, and starts with it.
pub(crate) fn failover(scene: &mut Scene<'_>) -> Result<()> {
    let second = ApiServer::url();
    let first = second.replace(&PORT.to_string(), &OTHER_PORT.to_string());
    let both = format!("--kube-api={first},{second}");
    nft(
        scene.lab,
        &format!(
            "table ip lab {{ chain way {{ type nat hook prerouting priority -100; \
             tcp dport {OTHER_PORT} redirect to :{PORT}; }}; }}"
        ),
    )?;
    scene.restart(2, &[&both], |_| Ok(()))?;
    let used = scene
        .host(2)
        .sh(&format!("ss -Htn state established dport = :{OTHER_PORT}"))?;
    ensure!(!used.is_empty(), "the first one is not used");
    // New connections are refused, and open ones are cut.
    nft(
        scene.lab,
        &format!(
            "flush chain ip lab way\n\
             table ip lab {{ chain end {{ type filter hook input priority 0; \
             meta l4proto tcp ct original proto-dst {OTHER_PORT} reject with tcp reset; }}; }}"
        ),
    )?;
    let wanted = scene.annotations("host3")?;
    let start = Instant::now();
    scene.annotate("host3", &[format!("{}-", key("backend-data"))])?;
    eventually("the annotations are back", || {
        let found = scene.annotations("host3")?;
        ensure!(found == wanted, "{found}");
        Ok(())
    })?;
    println!(
        "  an annotation was restored through the second API server {:.1?} after it was removed",
        start.elapsed()
    );
    let taken = scene.restart(2, &[&both], |_| Ok(()))?;
    println!("  ready {taken:.1?} after a start with the first API server dead");
    scene.lab.switch.place().sh("nft delete table ip lab")?;
    traffic::all_reach_each_other(&scene.pods, Family::V4)
}

fn nft(lab: &Lab, rules: &str) -> Result<()> {
    let mut nft = Command::new("nft");
    lab.switch
        .place()
        .cmd_with(nft.args(["-f", "-"]), rules)
        .map(drop)
}
