//! A pod writes tunnel packets of its own, to its node and to others. The same bytes from a node would arrive.
//!
//! ```text
//!  host1: attacker, a pod          host2: a victim         host3: a node whose source is forged
//! ```

mod answers;
mod node;
mod packet;
mod router;
mod too_big;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::datagram::Datagram;
use tweed_lab::launch::config;
use tweed_lab::namespace::Place;
use tweed_lab::observe;
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// A tunnel as a pod may write into it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tunnel {
    Vxlan,
    Udp,
}

impl Tunnel {
    fn port(self) -> u16 {
        match self {
            Self::Vxlan => 8472,
            Self::Udp => 8285,
        }
    }

    /// An inner packet as this host takes it.
    fn wrap(self, host: &Host, inner: &Datagram<'_>) -> Result<Vec<u8>> {
        let device = match Family::of(&inner.to) {
            Family::V4 => "flannel.1",
            Family::V6 => "flannel-v6.1",
        };
        Ok(match self {
            Self::Udp => inner.packet(),
            Self::Vxlan => packet::vxlan(&observe::mac(host, device)?, 1, &inner.packet())?,
        })
    }
}

/// One packet of the attacker.
struct Attack {
    what: &'static str,
    /// What it writes as the outer source; none for its own address.
    forged: Option<IpAddr>,
    /// The outer destination.
    to: IpAddr,
    /// The host that it pretends to be.
    pretends: usize,
    /// The host whose pod shall get it.
    target: usize,
}

/// Everything that an attacker on host1 can try in one family.
fn attacks(lab: &Lab, cluster: &Cluster<'_>, family: Family) -> Result<Vec<Attack>> {
    let public = |index: usize| {
        let addr = lab.hosts[index].addrs.get(family).copied();
        addr.context("hosts have both families")
    };
    let subnet = |index: usize| -> Result<[IpAddr; 2]> {
        let subnet = cluster.agents[index].subnet(family)?;
        Ok([subnet.network(), packet::next(subnet.network())])
    };
    let attack = |what, forged, to, pretends, target| Attack {
        what,
        forged,
        to,
        pretends,
        target,
    };
    let [own_vtep, own_bridge] = subnet(0)?;
    let [far_vtep, far_bridge] = subnet(1)?;
    let (own, far, third) = (public(0)?, public(1)?, public(2)?);
    Ok(vec![
        attack("masqueraded, to another node", None, far, 0, 1),
        attack("to another node's tunnel device", None, far_vtep, 0, 1),
        attack("to another node's bridge", None, far_bridge, 0, 1),
        attack("to its own node", None, own, 2, 0),
        attack("to its own bridge", None, own_bridge, 2, 0),
        attack("to its own node's tunnel device", None, own_vtep, 2, 0),
        attack("forged, to its own node", Some(third), own, 2, 0),
        attack("forged, to its own bridge", Some(third), own_bridge, 2, 0),
        attack("forged, to another node", Some(third), far, 2, 1),
        attack("forged, to another's bridge", Some(third), far_bridge, 2, 1),
        attack("forged as its own node", Some(own), far, 0, 1),
    ])
}

/// Packets that the hosts' tables have dropped.
fn dropped(hosts: &[Host]) -> Result<u64> {
    hosts.iter().map(|host| counted(host, "tweed")).sum()
}

/// Packets that the rules of a table have counted.
fn counted(host: &Host, table: &str) -> Result<u64> {
    let table = host.sh(&format!("nft list table inet {table}"))?;
    let counts = table.split("counter packets ").skip(1);
    counts
        .map(|rest| Ok(rest.split(' ').next().unwrap_or_default().parse::<u64>()?))
        .sum()
}

/// The NAT of another program: it has the kernel know flows, and decide about each by its first packet.
const OTHERS_NAT: [&str; 4] = [
    "add table inet other",
    "add chain inet other post { type nat hook postrouting priority 110; }",
    "add rule inet other post udp dport { 8472, 4001 } counter",
    "add rule inet other post ip saddr 203.0.113.9 masquerade",
];

/// A pod that has an address of another writes as that one, as one with `NET_RAW` does.
fn forge(pod: &Pod<'_>, addr: IpAddr) -> Result<()> {
    let len = Family::of(&addr).bits();
    let words = format!("ip addr replace {addr}/{len} dev lo nodad");
    pod.place().sh(&words).map(drop)
}

/// Takes the address off again.
fn unforge(pod: &Pod<'_>, addr: IpAddr) -> Result<()> {
    let len = Family::of(&addr).bits();
    let words = format!("ip addr del {addr}/{len} dev lo");
    pod.place().sh(&words).map(drop)
}

fn send(from: Place<'_>, source: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> Result<()> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = from.run(|| Ok(UdpSocket::bind((source.unwrap_or(any), 0))?))?;
    socket.send_to(bytes, to)?;
    Ok(())
}

/// Plays one attack. Without our rules, or where they would drop what is right too, the two packets come otherwise.
fn play_one(
    lab: &Lab,
    cluster: &Cluster<'_>,
    attacker: &Pod<'_>,
    tunnel: Tunnel,
    attack: &Attack,
) -> Result<()> {
    let family = Family::of(&attack.to);
    let (victim, target) = (&cluster.pods[attack.target], &lab.hosts[attack.target]);
    let addr = victim.addr(family)?;
    let socket = victim.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    let port = socket.local_addr()?.port();
    let inner = |payload| -> Result<Vec<u8>> {
        let datagram = Datagram {
            from: cluster.pods[attack.pretends].addr(family)?,
            to: addr,
            port,
            hops: 60,
            payload,
        };
        tunnel.wrap(target, &datagram)
    };
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let before = dropped(&lab.hosts)?;
    if let Some(forged) = attack.forged {
        forge(attacker, forged)?;
    }
    let to = SocketAddr::new(attack.to, tunnel.port());
    send(attacker.place(), attack.forged, to, &inner(b"evil")?)?;
    eventually("it is dropped and counted", || {
        let now = dropped(&lab.hosts)?;
        ensure!(now == before + 1, "{now} dropped, before {before}");
        Ok(())
    })?;
    // The node itself may write the same.
    let public = target.addrs.get(family).context("both families")?;
    let to = SocketAddr::new(*public, tunnel.port());
    let node = &lab.hosts[attack.pretends];
    send(node.place(), None, to, &inner(b"good")?)?;
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).context("the node's own comes")?;
    ensure!(&buffer[..len] == b"good", "{:?} came", &buffer[..len]);
    attack.forged.map_or(Ok(()), |addr| unforge(attacker, addr))
}

/// Starts so many nodes, and on the first one a pod that attacks.
fn attacked(
    hosts: usize,
    backend: &Value,
    attack: impl FnOnce(&Lab, &Cluster<'_>, &Pod<'_>) -> Result<()>,
) -> Result<()> {
    Topology::hosts(hosts).play(|lab| {
        for host in &lab.hosts {
            // Where it is strict, the kernel drops forged IPv4 packets by itself.
            for which in ["all", "default", "eth0"] {
                host.sh(&format!("sysctl -q -w net.ipv4.conf.{which}.rp_filter=0"))?;
            }
        }
        let config = config(&Family::BOTH, backend);
        let cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.arg("--ip-masq"))?;
        let attacker = Runtime::tweed().pod(&lab.hosts[0])?;
        attack(lab, &cluster, &attacker)
    })
}

fn play(backend: &Value, tunnels: &[Tunnel]) -> Result<()> {
    attacked(3, backend, |lab, cluster, attacker| {
        for family in Family::BOTH {
            cluster.talks(family)?;
            for tunnel in tunnels {
                for attack in attacks(lab, cluster, family)? {
                    play_one(lab, cluster, attacker, *tunnel, &attack)
                        .with_context(|| format!("{tunnel:?}, {family}: {}", attack.what))?;
                }
            }
            cluster.talks(family)?;
        }
        Ok(())
    })
}

#[test]
fn a_pod_cannot_reach_a_tunnel_port_of_vxlan() -> Result<()> {
    play(&json!({ "Type": "vxlan" }), &[Tunnel::Vxlan])
}

#[test]
fn a_pod_cannot_reach_a_tunnel_port_of_udp() -> Result<()> {
    play(&json!({ "Type": "udp" }), &[Tunnel::Udp])
}

/// Nodes listen for both while a network moves from one to the other.
#[test]
fn a_pod_cannot_reach_either_tunnel_port_while_both_are_accepted() -> Result<()> {
    play(
        &json!({ "Type": "vxlan", "Accept": [{ "Type": "udp" }] }),
        &[Tunnel::Vxlan, Tunnel::Udp],
    )
}

/// Pods may have tunnels among themselves, at whatever port.
#[test]
fn pods_may_use_the_port_between_each_other() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let config = config(&Family::BOTH, &json!({ "Type": "vxlan" }));
        let cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.arg("--ip-masq"))?;
        let [from, to] = &cluster.pods[..] else {
            bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            let addr = to.addr(family)?;
            let socket = to.place().run(|| Ok(UdpSocket::bind((addr, 8472))?))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            send(from.place(), None, (addr, 8472).into(), b"nested")?;
            let mut buffer = [0; 64];
            let (_, source) = socket.recv_from(&mut buffer).context("from pod to pod")?;
            ensure!(source.ip() == from.addr(family)?, "it came from {source}");
        }
        Ok(())
    })
}

/// The rules see the first packet of a flow. Of a flow that came before them they see the next one.
#[test]
fn a_flow_from_before_the_rules_is_dropped_too() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let config = config(&Family::BOTH, &json!({ "Type": "vxlan" }));
        let mut cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.arg("--ip-masq"))?;
        let (host, pod) = (&lab.hosts[0], &cluster.pods[0]);
        cluster.agents[0].terminate()?;
        host.sh("nft delete table inet tweed")?;
        for words in OTHERS_NAT {
            host.sh(&format!("nft {words}"))?;
        }
        let (mut flows, mut listening) = (Vec::new(), Vec::new());
        for family in Family::BOTH {
            let far = lab.hosts[1].addrs.get(family).context("both families")?;
            // Nobody there would be an error at the next packet.
            let there = lab.hosts[1].place();
            listening.push(there.run(|| Ok(UdpSocket::bind((*far, 4001))?))?);
            for (from, to) in [(0, 8472), (8472, 4001)] {
                let source = SocketAddr::new(pod.addr(family)?, from);
                let socket = pod.place().run(|| Ok(UdpSocket::bind(source)?))?;
                socket.connect((*far, to))?;
                socket.send(b"before the rules")?;
                socket.send(b"and once more")?;
                flows.push(socket);
            }
        }
        eventually("the kernel knows the flows", || {
            let first = counted(host, "other")?;
            ensure!(first == 4, "{first} first packets");
            Ok(())
        })?;
        let mut agent = Agent::start(lab, host, &cluster.launch)?;
        agent.ready()?;
        for (count, flow) in (1..).zip(&flows) {
            flow.send(b"behind the rules")?;
            eventually("it is dropped", || {
                let now = dropped(&lab.hosts[..1])?;
                ensure!(now == count, "{now} dropped");
                Ok(())
            })?;
        }
        Ok(())
    })
}
