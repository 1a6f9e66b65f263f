//! A pod begins a flow at a tunnel's port, so that what goes to that port is an answer, and no first packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::datagram::Datagram;
use tweed_lab::namespace::Place;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::{Tunnel, attacked, dropped, forge, unforge};

/// Any port that no tunnel has.
const OTHER: u16 = 4001;

fn write(place: Place<'_>, from: (IpAddr, u16), to: (IpAddr, u16), bytes: &[u8]) -> Result<()> {
    let socket = place.run(|| Ok(UdpSocket::bind(SocketAddr::from(from))?))?;
    socket.send_to(bytes, SocketAddr::from(to))?;
    Ok(())
}

#[test]
fn a_pod_cannot_answer_to_a_tunnel_port() -> Result<()> {
    attacked(3, &json!({ "Type": "vxlan" }), |lab, cluster, attacker| {
        for family in Family::BOTH {
            cluster.talks(family)?;
            let public = |index: usize| -> Result<IpAddr> {
                let addr = lab.hosts[index].addrs.get(family);
                addr.copied().context("both families")
            };
            let (far, third) = (public(1)?, public(2)?);
            let victim = &cluster.pods[1];
            let addr = victim.addr(family)?;
            let socket = victim.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            let inner = Datagram {
                from: cluster.pods[2].addr(family)?,
                to: addr,
                port: socket.local_addr()?.port(),
                hops: 60,
                payload: b"evil",
            };
            let evil = Tunnel::Vxlan.wrap(&lab.hosts[1], &inner)?;
            // With NET_RAW: both ends of a flow between two other nodes.
            let before = dropped(&lab.hosts)?;
            let port = Tunnel::Vxlan.port();
            let place = attacker.place();
            for (from, to, bytes) in [
                ((far, port), (third, OTHER), &b"the first packet"[..]),
                ((third, OTHER), (far, port), &evil),
            ] {
                forge(attacker, from.0)?;
                write(place, from, to, bytes)?;
                unforge(attacker, from.0)?;
            }
            let mut buffer = [0; 64];
            ensure!(
                socket.recv(&mut buffer).is_err(),
                "{family}: it came through"
            );
            // Without: masquerade would keep the port, and have the answers come to the node's own.
            let own = attacker.addr(family)?;
            write(place, (own, port), (far, OTHER), b"the first packet")?;
            eventually("all are dropped", || {
                let now = dropped(&lab.hosts)?;
                ensure!(now == before + 3, "{family}: {now}, before {before}");
                Ok(())
            })?;
        }
        Ok(())
    })
}
