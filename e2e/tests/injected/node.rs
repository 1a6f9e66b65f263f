//! A node writes tunnel packets whose inner source is not its own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::datagram::Datagram;
use tweed_lab::launch::config;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_lab::{observe, traffic};
use tweed_model::Family;

use super::packet::{frame, vxlan};
use super::{dropped, send};

/// The pod that packets are for, and where it listens.
struct Victim {
    socket: UdpSocket,
    addr: SocketAddr,
    /// Ethernet address of its node's device.
    mac: String,
}

impl Victim {
    fn new(pod: &Pod<'_>, family: Family) -> Result<Self> {
        let addr = pod.addr(family)?;
        let socket = pod.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let device = match family {
            Family::V4 => "flannel.1",
            Family::V6 => "flannel-v6.1",
        };
        Ok(Self {
            addr: socket.local_addr()?,
            socket,
            mac: observe::mac(pod.host, device)?,
        })
    }

    /// A packet for it.
    fn inner(&self, from: IpAddr, payload: &[u8]) -> Vec<u8> {
        let datagram = Datagram {
            from,
            to: self.addr.ip(),
            port: self.addr.port(),
            hops: 60,
            payload,
        };
        datagram.packet()
    }

    fn gets(&self, wanted: &[u8]) -> Result<()> {
        let mut buffer = [0; 64];
        let len = self.socket.recv(&mut buffer).context("nothing comes")?;
        ensure!(&buffer[..len] == wanted, "{:?} came", &buffer[..len]);
        Ok(())
    }
}

/// Inner sources that host2 may not write to host1.
fn foreign(lab: &Lab, cluster: &Cluster<'_>, family: Family) -> Result<Vec<IpAddr>> {
    let own = cluster.pods[0].addr(family)?;
    let made_up = match family {
        Family::V4 => ["8.8.8.8", "10.244.77.5", "127.0.0.1", "198.18.0.77"],
        Family::V6 => ["2001:db8::8", "fd00:10:244:77::5", "::1", "fd12:c612::77"],
    };
    let mut all = vec![own, cluster.pods[2].addr(family)?];
    for index in [0, 2] {
        all.extend(lab.hosts[index].addrs.get(family));
    }
    for text in made_up {
        all.push(text.parse()?);
    }
    Ok(all)
}

fn play(
    arguments: &[&str],
    scenario: impl Fn(&Lab, &Cluster<'_>, Family) -> Result<()>,
) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let config = config(&Family::BOTH, &json!({ "Type": "vxlan" }));
        let cluster = Cluster::on_etcd_with(lab, &config, |launch| {
            arguments
                .iter()
                .fold(launch, |launch, word| launch.arg(*word))
        })?;
        for family in Family::BOTH {
            cluster.talks(family)?;
            scenario(lab, &cluster, family).with_context(|| family.to_string())?;
            cluster.talks(family)?;
        }
        Ok(())
    })
}

/// The peer's socket sends to the port of the victim's node.
fn from_peer(lab: &Lab, family: Family, bytes: &[u8]) -> Result<()> {
    let addr = lab.hosts[0].addrs.get(family).context("both families")?;
    send(lab.hosts[1].place(), None, (*addr, 8472).into(), bytes)
}

fn is_dropped(lab: &Lab, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = dropped(&lab.hosts[..1])?;
    act()?;
    eventually(what, || {
        let now = dropped(&lab.hosts[..1])?;
        ensure!(now == before + 1, "{now} dropped, before {before}");
        Ok(())
    })
}

#[test]
fn a_node_speaks_for_its_own_subnet_alone() -> Result<()> {
    play(&["--ip-masq"], |lab, cluster, family| {
        let victim = Victim::new(&cluster.pods[0], family)?;
        for from in foreign(lab, cluster, family)? {
            is_dropped(lab, &format!("{from} is dropped"), || {
                let bytes = vxlan(&victim.mac, 1, &victim.inner(from, b"evil"))?;
                from_peer(lab, family, &bytes)
            })?;
        }
        let own = cluster.pods[1].addr(family)?;
        let packet = victim.inner(own, b"evil");
        let (arp, tag) = ([8, 6], [0x81, 0, 0, 1, 8, 0]);
        let other = match family {
            Family::V4 => [0x86, 0xdd],
            Family::V6 => [8, 0],
        };
        for (what, between) in [
            ("a frame of ARP", &arp[..]),
            ("a tagged frame", &tag[..]),
            ("a frame of the other family", &other[..]),
        ] {
            is_dropped(lab, what, || {
                from_peer(lab, family, &frame(&victim.mac, 1, between, &packet)?)
            })?;
        }
        // Its pods, its device, and itself.
        let public = lab.hosts[1].addrs.get(family).context("both families")?;
        let device = cluster.agents[1].subnet(family)?.network();
        for from in [own, device, *public] {
            let bytes = vxlan(&victim.mac, 1, &victim.inner(from, b"good"))?;
            from_peer(lab, family, &bytes)?;
            victim.gets(b"good").with_context(|| from.to_string())?;
        }
        trust(&cluster.agents[0], "subnets")
    })
}

/// As flannel's do: where nothing is masqueraded, nodes send for whom they like.
#[test]
fn without_masquerading_a_node_may_send_for_others() -> Result<()> {
    play(&[], |lab, cluster, family| {
        let victim = Victim::new(&cluster.pods[0], family)?;
        let from = match family {
            Family::V4 => "192.0.2.7",
            Family::V6 => "2001:db8::7",
        };
        let bytes = vxlan(&victim.mac, 1, &victim.inner(from.parse()?, b"routed"))?;
        from_peer(lab, family, &bytes)?;
        victim.gets(b"routed")?;
        trust(&cluster.agents[0], "peers")
    })
}

/// Whatever hosts, pods and clients of a host port do keeps working.
#[test]
fn packets_of_a_nodes_own_are_not_taken_for_forged_ones() -> Result<()> {
    play(&["--ip-masq"], |lab, cluster, family| {
        let before = dropped(&lab.hosts)?;
        let addr = |index: usize| lab.hosts[index].addrs.get(family).copied();
        let pod = &cluster.pods[0];
        let to = pod.addr(family)?;
        let node = lab.hosts[1].place();
        traffic::ping(node, to)?;
        traffic::tcp(node, pod.place(), to, 100_000)?;
        // By the address that a program is bound to, as one of the host's network may be.
        let public = addr(1).context("both families")?.to_string();
        let to = to.to_string();
        node.cmd(["ping", "-n", "-c", "1", "-W", "2", "-I", &public, &to])?;
        // Packets that are too large are fragments on the way, inside or outside of the tunnel.
        node.cmd(["ping", "-n", "-c", "1", "-W", "2", "-s", "9000", &to])?;
        traffic::tcp(
            cluster.pods[1].place(),
            pod.place(),
            pod.addr(family)?,
            4 << 20,
        )?;
        let own = addr(1).context("both families")?;
        traffic::tcp(pod.place(), node, own, 1000)?;
        let now = dropped(&lab.hosts)?;
        ensure!(now == before, "{now} dropped, before {before}");
        Ok(())
    })
}

fn trust(agent: &Agent<'_>, wanted: &str) -> Result<()> {
    let status = agent.status()?;
    ensure!(status["trust"] == wanted, "{status}");
    Ok(())
}
