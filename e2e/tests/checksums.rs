//! `tweedd connectivity tx-checksum`: what it advises, and that devices are afterwards as they were.

use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::config;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

const FEATURE: &str = "tx-checksum-ip-generic";

/// A responder in the second host's pod, and the command on the first host.
struct Measurement<'lab> {
    lab: &'lab Lab,
    cluster: Cluster<'lab>,
    responder: Child,
}

impl Drop for Measurement<'_> {
    fn drop(&mut self) {
        let _ = self.responder.kill();
        let _ = self.responder.wait();
    }
}

impl<'lab> Measurement<'lab> {
    /// The devices differ: the IPv6 one is off, as somebody has switched it.
    fn of(lab: &'lab Lab) -> Result<Self> {
        let cluster = Cluster::on_etcd(lab, &vxlan("auto"))?;
        std::fs::write(lab.folder.path().join("token"), "a token of this lab")?;
        let pod = &cluster.pods[1];
        let mut serve = command(lab);
        serve.args(["serve", &token(lab)]);
        let addrs = format!("{},{}", pod.addr(Family::V4)?, pod.addr(Family::V6)?);
        serve.arg(format!("--address={addrs}"));
        let responder = pod.place().spawn(&mut serve)?;
        let measurement = Self {
            lab,
            cluster,
            responder,
        };
        let switch = format!("ethtool -K flannel-v6.1 {FEATURE} off");
        measurement.host().sh(&switch)?;
        measurement.is_as_found()?;
        eventually("the responder listens", || {
            let open = measurement.cluster.pods[1].place().sh("ss -Hltn")?;
            ensure!(open.contains(":8479"), "{open}");
            Ok(())
        })?;
        Ok(measurement)
    }

    fn host(&self) -> &'lab Host {
        &self.lab.hosts[0]
    }

    fn is_as_found(&self) -> Result<()> {
        is(self.host(), "flannel.1", "on")?;
        is(self.host(), "flannel-v6.1", "off")
    }

    fn command(&self, to: &str) -> Command {
        let mut command = command(self.lab);
        command.args(["tx-checksum", "--output=json", &token(self.lab), to]);
        command
    }

    fn run(&self, to: &str) -> Result<Output> {
        self.host().place().output(&mut self.command(to), "")
    }
}

fn vxlan(choice: &str) -> Value {
    config(
        &Family::BOTH,
        &json!({ "Type": "vxlan", "TxChecksum": choice }),
    )
}

fn command(lab: &Lab) -> Command {
    let mut command = Command::new(&lab.binaries.tweedd);
    command.arg("connectivity");
    command
}

fn token(lab: &Lab) -> String {
    format!("--token-file={}", lab.folder.path().join("token").display())
}

fn is(host: &Host, device: &str, wanted: &str) -> Result<()> {
    let features = host.sh(&format!("ethtool -k {device}"))?;
    let wanted = format!("{FEATURE}: {wanted}");
    let is = features.lines().any(|line| line.trim() == wanted);
    ensure!(is, "{device} isn't {wanted}");
    Ok(())
}

fn measured(output: &Output, code: i32) -> Result<Value> {
    ensure!(output.status.code() == Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

#[test]
fn off_is_advised_where_large_packets_are_lost_and_not_where_the_path_is_good() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let measurement = Measurement::of(lab)?;
        for family in Family::BOTH {
            let pod = measurement.cluster.pods[1].addr(family)?.to_string();
            let found = measured(&measurement.run(&pod)?, 0)?;
            println!("a good path, {family:?}: {found}");
            ensure!(found["verdict"] == "leave", "{found}");
            for turn in found["turns"].as_array().context("no turns")? {
                let rates = [turn["on"].as_u64(), turn["off"].as_u64()];
                ensure!(rates.iter().all(|rate| *rate > Some(1_000_000)), "{turn}");
            }
            measurement.is_as_found()?;
        }
        // As below a card that loses what it should cut: with the feature off the kernel has cut it before.
        let host = measurement.host();
        for line in [
            "nft add table inet card",
            "nft add chain inet card out { type filter hook postrouting priority 300 ; }",
            "nft add rule inet card out udp dport 8472 meta length > 2000 drop",
        ] {
            host.sh(line)?;
        }
        let pod = measurement.cluster.pods[1].addr(Family::V4)?.to_string();
        let found = measured(&measurement.run(&pod)?, 2)?;
        println!("large packets are lost: {found}");
        ensure!(found["verdict"] == "off", "{found}");
        measurement.is_as_found()
    })
}

#[test]
fn a_measurement_that_is_interrupted_or_refused_leaves_the_devices_as_they_were() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut measurement = Measurement::of(lab)?;
        let host = measurement.host();
        let pod = measurement.cluster.pods[1].addr(Family::V4)?.to_string();
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut command = measurement.command(&pod);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = host.place().spawn(&mut command)?;
            let switched = eventually("switched", || {
                is(host, "flannel.1", "off").or_else(|_| is(host, "flannel-v6.1", "on"))
            });
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
            let ended = child.wait()?;
            switched?;
            ensure!(ended.code() == Some(1), "{signal}: {ended}");
            measurement.is_as_found()?;
        }
        let refused = |to: &str, why: &str| {
            let output = measurement.run(to)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(1), "{output:?}");
            ensure!(said.contains(why), "{said}");
            Ok(())
        };
        // Nobody listens there; and what is on this node needs no tunnel.
        refused(&lab.hosts[1].v4().to_string(), "Connection refused")?;
        measurement.is_as_found()?;
        let mut serve = command(lab);
        let own = measurement.cluster.pods[0].addr(Family::V4)?.to_string();
        serve.args(["serve", &token(lab), &format!("--address={own}")]);
        let mut child = measurement.cluster.pods[0].place().spawn(&mut serve)?;
        let near = eventually("named", || refused(&own, "name a pod of another node"));
        child.kill()?;
        child.wait()?;
        near?;
        measurement.is_as_found()?;

        measurement.cluster.etcd()?.put_config(&vxlan("on"))?;
        eventually("the agent's own choice is named", || {
            let output = measurement.run(&pod)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(said.contains("set it to auto"), "{said}");
            Ok(())
        })
    })
}
