//! The owner of VXLAN's UDP port is named where the device can't be brought up.

use std::process::Command;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

fn says(agent: &Agent<'_>, words: &str) -> Result<()> {
    eventually(words, || {
        let status = agent.status()?;
        let reasons = status["not_ready"].to_string();
        ensure!(reasons.contains(words), "{reasons}");
        Ok(())
    })
}

#[test]
fn a_device_or_process_that_has_the_vxlan_port_is_named() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        host.sh("ip link add others type vxlan id 1 dev eth0 dstport 8472")?;
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        says(&agent, "device others has VNI 1 on UDP port 8472")?;
        host.sh("ip link del others")?;
        agent.ready()?;
        agent.terminate()?;
        host.sh("ip link del flannel.1")?;

        // Something that listens on a UDP port of our choice.
        let token = lab.folder.path().join("token");
        std::fs::write(&token, "0123456789abcdef")?;
        let mut listener = Command::new(&lab.binaries.tweedd);
        listener
            .args(["connectivity", "serve", "--port=8472"])
            .arg(format!("--token-file={}", token.display()))
            .arg(format!("--address={}", host.v4()));
        let mut listener = host.place().spawn(&mut listener)?;
        eventually("it listens", || {
            let sockets = host.sh("ss -lun")?;
            ensure!(sockets.contains(":8472"), "{sockets}");
            Ok(())
        })?;
        // An agent that has confined itself can't look into other processes.
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        let hinted = says(&agent, "a process (ss -lunp sport = :8472 shows it)");
        agent.terminate()?;
        let unconfined = Launch::etcd().arg("--sandbox=false");
        let mut agent = Agent::start(lab, host, &unconfined)?;
        let named = hinted.and_then(|()| says(&agent, "process tweedd (pid "));
        listener.kill()?;
        listener.wait()?;
        named?;
        agent.ready().map(drop)
    })
}

#[test]
fn an_interface_that_has_a_devices_name_is_named_and_keeps_what_is_its_own() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        host.sh("ip link add other type bridge")?;
        host.sh("ip link property add dev other altname flannel.1")?;
        let before = host.sh("ip -d addr show other")?;
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        let remedy = "ip link property del dev other altname flannel.1";
        says(&agent, remedy)?;
        let after = host.sh("ip -d addr show other")?;
        ensure!(after == before, "{after}");
        host.sh(remedy)?;
        agent.ready().map(drop)
    })
}
