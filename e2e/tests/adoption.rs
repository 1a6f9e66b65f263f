//! A node changes from flannel to Tweed under traffic: what flannel left is taken over as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::Etcd;
use tweed_lab::fault::Peer;
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::eventually;
use tweed_model::Family;

#[test]
fn a_flannel_node_is_taken_over_without_a_lost_packet_and_its_stale_peer_is_swept() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let nodes = [Node::of(&lab.hosts[0])?, Node::of(&lab.hosts[1])?];
        let stale = Node {
            subnet: "10.244.77.0/24".parse()?,
            public: "198.18.0.77".parse()?,
            mac: "a2:00:00:00:00:77".to_owned(),
        };
        nodes[0].announce(&etcd)?;
        nodes[1].announce(&etcd)?;
        nodes[0].lay_out(&lab.hosts[0], &[nodes[1].clone(), stale.clone()])?;
        nodes[1].lay_out(&lab.hosts[1], &nodes[..1])?;

        // Pods that the Go plugins have made.
        let pods = [0, 1].map(|index| nodes[index].go_plugins().pod(&lab.hosts[index]));
        let [first, second] = pods;
        let (first, second) = (first?, second?);
        let stream = Stream::start(&first, &second, Family::V4)?;
        // Some packets before, since the take-over itself may be done between two.
        std::thread::sleep(Duration::from_millis(300));

        let forecast = forecast(lab)?;
        ensure!(forecast["lease"] == nodes[0].key(), "{forecast}");
        ensure!(forecast["hindrances"] == json!([]), "{forecast}");
        let said = |list: &str, words: &str| forecast[list].to_string().contains(words);
        ensure!(said("taken_over", &nodes[0].mac), "{forecast}");
        ensure!(said("taken_over", "subnet.env"), "{forecast}");
        ensure!(said("swept", "10.244.77.0"), "{forecast}");
        ensure!(said("swept", &stale.mac), "{forecast}");
        // What is about the other node stays, or is replaced.
        ensure!(!said("swept", &nodes[1].mac), "{forecast}");

        let before = [0, 1].map(|index| identity(&lab.hosts[index]));
        let mut agents = Vec::new();
        for host in &lab.hosts {
            let mut agent = Agent::start(lab, host, &Launch::etcd().arg("--ip-masq"))?;
            agent.ready()?;
            agents.push(agent);
        }
        eventually("the stale peer is swept", || {
            let all = observe::snapshot(&lab.hosts[0])?;
            let left: Vec<_> = all
                .iter()
                .filter(|line| line.contains("10.244.77.0") || line.contains(&stale.mac))
                .collect();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        let loss = stream.stop()?;
        ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");

        for (index, host) in lab.hosts.iter().enumerate() {
            let (old, new) = (before[index].as_ref(), identity(host)?);
            ensure!(old.is_ok_and(|old| *old == new), "was {old:?}, is {new:?}");
            ensure!(new.1 == nodes[index].mac, "MAC is {}", new.1);
            let (key, value) = etcd.lease_of(host.v4())?;
            ensure!(key == nodes[index].key(), "another subnet: {key}");
            ensure!(value == nodes[index].value(), "another value: {value}");
            let other = &nodes[1 - index];
            let peer = Peer {
                subnet: other.subnet.into(),
                mac: other.mac.clone(),
                public: other.public,
            };
            peer.is_programmed(host)?;
        }
        Ok(())
    })
}

#[test]
fn a_forecast_names_a_flanneld_that_runs_and_a_lease_that_is_not_there() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        let (host, node) = (&lab.hosts[0], Node::of(&lab.hosts[0])?);
        node.lay_out(host, &[])?;
        // Its lease has run out, and nobody has the subnet.
        let again = forecast(lab)?;
        ensure!(again["lease"] == node.key(), "{again}");
        ensure!(again["hindrances"] == json!([]), "{again}");
        fs::remove_file(host.path("/run/flannel/subnet.env"))?;
        let none = forecast(lab)?;
        ensure!(none["lease"].is_null(), "{none}");
        ensure!(none["hindrances"].to_string().contains("drain"), "{none}");
        node.announce(&etcd)?;
        let path = lab.folder.path().join("flanneld");
        fs::write(&path, "#!/bin/sh\nwhile :; do sleep 0.2; done\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let mut flanneld = Command::new(&path);
        flanneld.args(["-etcd-endpoints=http://192.0.2.1:2379", "-iface=eth0"]);
        let mut flanneld = host.place().spawn(&mut flanneld)?;
        let named = eventually("it is named", || {
            let found = forecast(lab)?;
            ensure!(found["lease"] == node.key(), "{found}");
            let hindrances = found["hindrances"].to_string();
            ensure!(hindrances.contains("flanneld is running (pid "), "{found}");
            Ok(())
        });
        flanneld.kill()?;
        flanneld.wait()?;
        named?;
        ensure!(forecast(lab)?["hindrances"] == json!([]), "it has ended");
        Ok(())
    })
}

/// What `tweedd adopt --check` says on the first host, where it changes nothing, in the store neither.
fn forecast(lab: &Lab) -> Result<Value> {
    let host = &lab.hosts[0];
    let before = observe::snapshot(host)?;
    let mut command = Command::new(&lab.binaries.tweedd);
    command.args(["adopt", "--check", "-o", "json", "--ip-masq"]);
    command.args(Launch::etcd().store_args());
    let output = host.place().output(&mut command, "")?;
    let changed = observe::difference(&before, &observe::snapshot(host)?);
    ensure!(changed.is_empty(), "a check changed {changed:?}");
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let hindered = found["hindrances"] != json!([]);
    ensure!(output.status.code() == Some(hindered.into()), "{output:?}");
    Ok(found)
}

/// Index and MAC of the device.
fn identity(host: &tweed_lab::topology::Host) -> Result<(u64, String)> {
    let device = "flannel.1";
    Ok((observe::ifindex(host, device)?, observe::mac(host, device)?))
}
