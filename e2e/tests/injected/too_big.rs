//! A pod makes up ICMP errors about tunnel packets of nodes: they are too big for their path.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, sendto,
    socket,
};
use serde_json::json;
use tweed_lab::datagram::{Datagram, checksum};
use tweed_lab::namespace::Place;
use tweed_lab::topology::{Host, Lab};
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::{attacked, dropped, forge, unforge};

/// VXLAN's header with network identifier 1, as the kernel looks for it in the quoted packet.
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 1, 0];
const MTU: u16 = 1300;

/// Sends a node an ICMP error: what it sends to a peer is too big.
fn send_error(from: Place<'_>, source: Option<IpAddr>, node: IpAddr, peer: IpAddr) -> Result<()> {
    let quoted = Datagram {
        from: node,
        to: peer,
        port: 8472,
        hops: 64,
        payload: &VXLAN,
    };
    let (family, protocol, head) = match node {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, [3, 4, 0, 0, 0, 0]),
        IpAddr::V6(_) => (
            AddressFamily::Inet6,
            SockProtocol::IcmpV6,
            [2, 0, 0, 0, 0, 0],
        ),
    };
    let mut error = [&head[..], &MTU.to_be_bytes(), &quoted.packet()].concat();
    if node.is_ipv4() {
        // That of IPv6 is the kernel's.
        let sum = checksum(&error);
        error[2..4].copy_from_slice(&sum);
    }
    from.run(|| {
        let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        let at = |addr| SockaddrStorage::from(SocketAddr::new(addr, 0));
        if let Some(source) = source {
            bind(fd.as_raw_fd(), &at(source))?;
        }
        sendto(fd.as_raw_fd(), &error, &at(node), MsgFlags::empty())?;
        Ok(())
    })
}

fn way(node: &Host, peer: IpAddr) -> Result<String> {
    node.sh(&format!("ip route get {peer}"))
}

#[test]
fn a_pod_cannot_change_the_mtu_between_nodes() -> Result<()> {
    attacked(2, &json!({ "Type": "vxlan" }), |lab, cluster, attacker| {
        for family in Family::BOTH {
            cluster.talks(family)?;
            let public = |index: usize| {
                let addr = lab.hosts[index].addrs.get(family).copied();
                addr.context("both families")
            };
            let router = Lab::gateway(0).get(family).copied();
            let (own, far) = (public(0)?, public(1)?);
            for (what, source, node, peer, host) in [
                ("to its own node", None, own, far, 0),
                ("forged, to its own node", router, own, far, 0),
                ("to another node", None, far, own, 1),
            ] {
                let before = dropped(&lab.hosts)?;
                if let Some(forged) = source {
                    forge(attacker, forged)?;
                }
                send_error(attacker.place(), source, node, peer)?;
                eventually(what, || {
                    let now = dropped(&lab.hosts)?;
                    ensure!(now == before + 1, "{now} dropped, before {before}");
                    Ok(())
                })?;
                let way = way(&lab.hosts[host], peer)?;
                ensure!(!way.contains("mtu"), "{what}, {family}: {way}");
                source.map_or(Ok(()), |addr| unforge(attacker, addr))?;
            }
            // An error from a router is applied.
            eventually("the error of a router is applied", || {
                send_error(lab.switch.place(), None, own, far)?;
                let way = way(&lab.hosts[0], far)?;
                ensure!(way.contains("mtu 1300"), "{way}");
                Ok(())
            })?;
        }
        Ok(())
    })
}
