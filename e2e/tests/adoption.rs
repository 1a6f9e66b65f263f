//! A node changes from flannel to Tweed under traffic: what flannel left is taken over as it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::Etcd;
use tweed_lab::fault::Peer;
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::observe;
use tweed_lab::topology::Topology;
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

/// Index and MAC of the device.
fn identity(host: &tweed_lab::topology::Host) -> Result<(u64, String)> {
    let device = "flannel.1";
    Ok((observe::ifindex(host, device)?, observe::mac(host, device)?))
}
