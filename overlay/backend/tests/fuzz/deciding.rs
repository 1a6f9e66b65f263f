//! What decides: the table, both directions, and the whole way from one node's device to another's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tweed_forward::decide::{Inbound, Outbound, Trust, inbound, outbound};
use tweed_forward::fragment::fragment;
use tweed_forward::packet::Packet;
use tweed_forward::path_mtu::PathMtus;
use tweed_forward::split::split;
use tweed_forward::table::{Peer, PeerId, Table};
use tweed_forward::virtio::Offload;
use tweed_model::{Dual, Family};

use crate::joining::{batch, join_and_cut, sorted};
use crate::judge::{Node, scan};
use crate::oracle::{fix_header, fix_transport};
use crate::packets::{address, packet};
use tweed_fuzz::{Source, fuzz};

fn peer(endpoint: SocketAddr, subnets: Dual<IpNet>, mtu: u16) -> Peer {
    Peer {
        endpoint,
        addresses: Dual::of_addrs([endpoint.ip()]),
        subnets,
        mtu,
    }
}

fn subnets(node: u8) -> Dual<IpNet> {
    let v4 = format!("10.42.{node}.0/24").parse().unwrap();
    let v6 = format!("fd00:0:0:{node}::/64").parse().unwrap();
    Dual::of_nets([v4, v6])
}

fn underlay(node: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, node).into()
}

/// The table of a node among the nodes 1 to 3; the path to node 3 is narrow.
fn table(own: u8) -> Table {
    let others = (1..4).filter(|node| *node != own);
    let peers = others.map(|node| {
        let mtu = if node == 3 { 1000 } else { 1472 };
        peer((underlay(node), 8285).into(), subnets(node), mtu)
    });
    Table::new(subnets(own), peers.collect())
}

/// Node 1 among its peers. A part of node 2's subnet is another node's, and how wide the path to each is
/// depends on what is to go there, so that what just fits is as frequent as what just doesn't.
fn node(source: &mut Source, len: usize) -> Node {
    let mut mtu = || source.pick(&[1472, 68, len, len, len.saturating_sub(1), len + 1]) as u16;
    let mut peers: Vec<Peer> = [2, 3]
        .map(|node| peer((underlay(node), 8285).into(), subnets(node), mtu()))
        .into();
    let parts = ["10.42.2.8/30", "fd00:0:0:2::8/125"].map(|net| net.parse().unwrap());
    let part = Dual::of_nets(parts);
    peers.push(peer((underlay(4), 8285).into(), part, mtu()));
    peers[1].addresses.v6 = Some("2001:db8::3".parse().unwrap());
    let first = source.below(peers.len());
    peers.rotate_left(first);
    Node {
        own: subnets(1),
        peers,
    }
}

#[test]
fn every_packet_from_the_device_is_decided_as_a_scan_over_all_peers_and_its_size_say() {
    fuzz("outbound", 10, |source| {
        let mut header = source.bytes(10);
        header[1] = source.pick(&[0, 0, 0, 1, 4, 5]);
        if source.once_in(2) {
            let size: u16 = source.pick(&[1, 40, 500, 1400]);
            header[4..6].copy_from_slice(&size.to_ne_bytes());
        }
        let offload = Offload::parse(&header).unwrap_or(Offload::None);
        let bytes = packet(source);
        let node = node(source, bytes.len());
        let table = Table::new(node.own, node.peers.clone());
        node.judge_outbound(&offload, &bytes, &outbound(&table, &offload, &bytes))
    });
}

#[test]
fn nothing_gets_in_but_what_a_scan_over_all_peers_allows() {
    fuzz("inbound", 2, |source| {
        let bytes = packet(source);
        let node = node(source, bytes.len());
        let table = Table::new(node.own, node.peers.clone());
        let sender = match source.below(6) as u8 {
            5 => "2001:db8::3".parse().unwrap(),
            number => underlay(number),
        };
        let trust = source.pick(&[Trust::Subnets, Trust::Subnets, Trust::Peers, Trust::Anyone]);
        let sender = match sender {
            IpAddr::V4(addr) if source.once_in(3) => addr.to_ipv6_mapped().into(),
            sender => sender,
        };
        let decided = inbound(&table, trust, sender, &bytes);
        node.judge_inbound(trust, sender, &bytes, &decided)
    });
}

/// Subnets that differ in few bits, so that they nest and meet.
fn net(source: &mut Source, v6: bool) -> IpNet {
    let low = source.pick(&[0, 1, 256, 257, 1 << 16, 255]) ^ source.below(4) as u32;
    if v6 {
        let high = 0xfd00 << 112 | u128::from(low) << source.pick(&[0, 40, 64]);
        let len = source.pick(&[0, 8, 48, 56, 63, 64, 65, 112, 127, 128]);
        Ipv6Net::new(Ipv6Addr::from(high), len).unwrap().into()
    } else {
        let addr = Ipv4Addr::from(0x0a2a_0000 ^ low);
        let len = source.pick(&[0, 7, 8, 16, 22, 23, 24, 25, 31, 32]);
        Ipv4Net::new(addr, len).unwrap().into()
    }
}

#[test]
fn a_lookup_finds_what_a_scan_finds() {
    fuzz("table", 60, |source| {
        let peers = 1 + source.below(8);
        let nets: Vec<IpNet> = (0..peers)
            .map(|_| {
                let v6 = source.once_in(4);
                net(source, v6)
            })
            .collect();
        let endpoint = (underlay(2), 8285).into();
        let one = |net: &IpNet| peer(endpoint, Dual::of_nets([*net]), 1472);
        let table = Table::new(Dual::default(), nets.iter().map(one).collect());
        let mut found = false;
        for _ in 0..8 {
            let near = net(source, false).addr();
            let net = source.pick(&nets);
            let addr = source.pick(&[net.addr(), net.network(), net.broadcast(), near]);
            let looked = table.lookup(addr).map(PeerId::index);
            assert_eq!(looked, scan(nets.iter(), addr), "{addr} in {nets:?}");
            found |= looked.is_some_and(|index| index > 0);
        }
        found || nets.len() == 1
    });
}

#[test]
fn no_report_about_a_path_widens_it_nor_closes_it_and_all_are_forgotten() {
    let fresh = table(1);
    fuzz("path_mtu", 40, |source| {
        let (mut paths, mut table) = (PathMtus::default(), Arc::new(fresh.clone()));
        let (mut now, mut learned) = (Duration::ZERO, false);
        for _ in 0..source.below(12) {
            now += Duration::from_secs(source.below(400) as u64);
            if paths.forget(now) {
                table = Arc::new(fresh.clone());
                paths.tell(Arc::make_mut(&mut table));
            }
            let addr = underlay(source.below(6) as u8);
            let before = table.clone();
            let path = source.pick(&[0, 68, 552, 576, 1280, 1300, 1500, 9000, u32::MAX]);
            let news = paths.learn(&mut table, addr, path, now);
            learned |= news;
            for (peer, before) in table.peers().iter().zip(before.peers()) {
                let there = peer.endpoint.ip() == addr;
                assert!(peer.mtu <= before.mtu && peer.mtu >= before.mtu.min(1280 - 48));
                assert_eq!(peer.mtu < before.mtu, news && there);
            }
            let mut anew = fresh.clone();
            paths.tell(&mut anew);
            assert_eq!(
                anew.peers(),
                table.peers(),
                "a new table is told all that is known"
            );
        }
        paths.forget(now + Duration::from_hours(1));
        assert!(paths.is_empty());
        learned
    });
}

/// The datagrams that carry a packet to its peer.
fn carry(table: &Table, bytes: &[u8], offload: &Offload) -> Option<(u8, Vec<Vec<u8>>)> {
    let decision = outbound(table, offload, bytes);
    let (Outbound::Send(mut packet, id) | Outbound::Fragment(mut packet, id)) = decision else {
        return None;
    };
    let mut bytes = bytes.to_vec();
    packet.decrement_hop_limit(&mut bytes);
    let peer = table.peer(id);
    let IpAddr::V4(endpoint) = peer.endpoint.ip() else {
        panic!("the underlay is IPv4");
    };
    let mut out = vec![0; 1 << 18];
    let mut pieces = vec![packet.trim(&bytes).to_vec()];
    if let Offload::Segments { kind, size, .. } = *offload {
        let cut = split(&packet, &bytes, kind, size, &mut out).ok()?;
        pieces = cut.iter().map(|range| out[range].to_vec()).collect();
    }
    if matches!(decision, Outbound::Fragment(..)) {
        let cut = |bytes: Vec<u8>| {
            let packet = Packet::parse(&bytes).unwrap();
            let cut = fragment(&packet, &bytes, peer.mtu, &mut out).unwrap();
            cut.iter()
                .map(|range| out[range].to_vec())
                .collect::<Vec<_>>()
        };
        pieces = pieces.into_iter().flat_map(cut).collect();
    }
    let least = if packet.family() == Family::V6 {
        1280
    } else {
        68
    };
    let most = usize::from(peer.mtu.max(least));
    assert!(
        pieces.iter().all(|piece| piece.len() <= most),
        "none is above the path's MTU"
    );
    Some((endpoint.octets()[3], pieces))
}

#[test]
fn what_one_node_sends_another_delivers_byte_for_byte() {
    let (from, to) = (table(1), [table(2), table(3)]);
    fuzz("path", 10, |source| {
        let mut came = [Vec::new(), Vec::new()];
        for mut bytes in batch(source) {
            // From a pod of node 1 to any.
            match bytes[0] >> 4 {
                4 => bytes[12..15].copy_from_slice(&address(false, 1, 0)[..3]),
                _ => bytes[8..23].copy_from_slice(&address(true, 1, 0)[..15]),
            }
            fix_header(&mut bytes);
            fix_transport(&mut bytes);
            let Some((node, pieces)) = carry(&from, &bytes, &Offload::None) else {
                continue;
            };
            for piece in pieces {
                let there = &to[usize::from(node) - 2];
                if let Inbound::Drop(reason) = inbound(there, Trust::Subnets, underlay(1), &piece) {
                    panic!("node {node} refuses {piece:02x?}: {reason}");
                }
                came[usize::from(node) - 2].push(piece);
            }
        }
        for packets in &came {
            let (delivered, _) = join_and_cut(packets, source.bits());
            assert_eq!(sorted(&delivered), sorted(packets));
        }
        came.iter().any(|packets| packets.len() > 1)
    });
}
