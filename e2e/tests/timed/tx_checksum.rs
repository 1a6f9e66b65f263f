//! `Backend.TxChecksum`: VXLAN devices have the feature that the configuration says, whatever happens to them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::Etcd;
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, config};
use tweed_lab::observe;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::{eventually, stays, timed};
use tweed_model::Family;

/// A repair takes less.
const LIMIT: Duration = Duration::from_secs(1);
const DEVICES: [&str; 2] = ["flannel.1", "flannel-v6.1"];
const FEATURE: &str = "tx-checksum-ip-generic";

fn vxlan_with(choice: &str) -> Value {
    let backend = json!({ "Type": "vxlan", "TxChecksum": choice });
    config(&Family::BOTH, &backend)
}

/// Whether the device's feature reads so.
fn is(host: &Host, device: &str, wanted: &str) -> Result<()> {
    let features = host.sh(&format!("ethtool -k {device}"))?;
    let mut lines = features.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with(FEATURE));
    let line = line.context("no such feature")?;
    ensure!(line == format!("{FEATURE}: {wanted}"), "{device}: {line}");
    Ok(())
}

fn all_are(host: &Host, wanted: &str) -> Result<()> {
    DEVICES
        .iter()
        .try_for_each(|device| is(host, device, wanted))
}

fn switch(host: &Host, device: &str, value: &str) -> Result<()> {
    host.sh(&format!("ethtool -K {device} {FEATURE} {value}"))
        .map(drop)
}

#[test]
fn a_device_that_somebody_switches_or_deletes_is_off_again_within_a_second() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_with("off"))?;
        let host = &lab.hosts[0];
        for host in &lab.hosts {
            all_are(host, "off")?;
        }
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        for device in DEVICES {
            for fault in [
                format!("ethtool -K {device} {FEATURE} on"),
                format!("ip link del {device}"),
            ] {
                host.sh(&fault)?;
                let repaired = || all_are(host, "off");
                let (_, taken) = timed(&format!("off after: {fault}"), LIMIT, repaired)?;
                println!("off again in {taken:?} after: {fault}");
            }
        }
        stays("off", Duration::from_millis(300), || all_are(host, "off"))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        told(&cluster.agents[0], "off", [false, false])?;

        let agent = &mut cluster.agents[0];
        agent.terminate()?;
        switch(host, "flannel.1", "on")?;
        let plan = agent.command(&["plan"])?;
        let plan = String::from_utf8(plan.stdout)?;
        let due = format!("ethtool -K flannel.1 {FEATURE} off");
        ensure!(plan.contains(&due), "{plan}");
        is(host, "flannel.1", "on")
    })
}

#[test]
fn another_choice_switches_the_devices_in_place_and_auto_leaves_them_to_others() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan_with("auto"))?;
        let host = &lab.hosts[0];
        all_are(host, "on")?;
        told(&cluster.agents[0], "auto", [true, true])?;
        let numbers = || DEVICES.map(|device| observe::ifindex(host, device).ok());
        let before = numbers();
        // A rule of the host's, as people have it for flannel.
        for device in DEVICES {
            switch(host, device, "off")?;
        }
        let still = || all_are(host, "off");
        stays("auto leaves it", Duration::from_millis(1500), still)?;
        for choice in ["on", "off", "on"] {
            cluster.etcd()?.put_config(&vxlan_with(choice))?;
            eventually("the new choice", || {
                lab.hosts
                    .iter()
                    .try_for_each(|host| all_are(host, choice))?;
                told(&cluster.agents[0], choice, [choice == "on"; 2])
            })?;
        }
        ensure!(numbers() == before, "the devices were made again");
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        Ok(())
    })
}

#[test]
fn a_device_of_flannels_is_switched_when_it_is_taken_over() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let etcd = Etcd::start(lab)?;
        let backend = json!({ "Type": "vxlan", "TxChecksum": "off" });
        etcd.put_config(&config(&[Family::V4], &backend))?;
        let node = Node::of(host)?;
        node.announce(&etcd)?;
        node.lay_out(host, &[])?;
        is(host, "flannel.1", "on")?;
        let before = observe::ifindex(host, "flannel.1")?;
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        agent.ready()?;
        is(host, "flannel.1", "off")?;
        ensure!(observe::ifindex(host, "flannel.1")? == before, "made again");
        Ok(())
    })
}

/// The feature in `tweedd status`, as JSON and as text. The kernel thread reports a moment after its work.
fn told(agent: &Agent<'_>, choice: &str, on: [bool; 2]) -> Result<()> {
    eventually("the status tells it", || {
        let status = agent.status()?;
        let told = &status["tx_checksum"];
        ensure!(told["choice"] == choice, "{told}");
        let devices = json!({ DEVICES[0]: on[0], DEVICES[1]: on[1] });
        ensure!(told["devices"] == devices, "{told}");
        Ok(())
    })?;
    let people = String::from_utf8(agent.command(&["status", "--all"])?.stdout)?;
    let row = people.lines().find(|line| line.starts_with("checksum "));
    let row = row.with_context(|| people.clone())?;
    ensure!(row.contains(&format!("({choice}: ")), "{row}");
    let said = agent.log()?;
    ensure!(
        said.contains("tx-checksum-ip-generic of VXLAN devices"),
        "{said}"
    );
    Ok(())
}
