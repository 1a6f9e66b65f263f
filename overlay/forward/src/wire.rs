//! flannel's format: the IP packet is the datagram's payload, without any header before it, on UDP port 8285. Recorded
//! from flanneld v0.28.9 with backend `udp`, at its device `flannel0` (10.42.69.0, the network is 10.42.0.0/16) and
//! on its uplink.

use std::net::IpAddr;

use tweed_model::Dual;

use super::decide::{Inbound, Outbound, Trust, inbound, outbound};
use super::icmp::{self, IcmpError};
use super::packet::Packet;
use super::table::{Peer, PeerId, Table};
use super::virtio::Offload;

/// An echo request from the host to a peer's pod, as the kernel gave it to flannel.
const ECHO_DEVICE: &str = "45000034f8d740004001e1980a2a45000a2a07050800d711582600012edd016b\
                           000000004b2e01000000000010111213 14151617";
/// The payload of the datagram in which flannel sent it.
const ECHO_WIRE: &str = "45000034f8d740003f01e2980a2a45000a2a07050800d711582600012edd016b\
                         000000004b2e01000000000010111213 14151617";
/// A datagram of a pod's, before and after.
const UDP_DEVICE: &str = "4500003013bb40004011c6a90a2a45000a2a0705973e2328001c8827\
                          746f206120706565 72206f6620666c616e6e656c";
const UDP_WIRE: &str = "4500003013bb40003f11c7a90a2a45000a2a0705973e2328001c8827\
                        746f206120706565 72206f6620666c616e6e656c";
/// An echo reply to a peer, as flannel sent it. Without "don't fragment".
const REPLY_WIRE: &str = "4500002cf91900003f01225f0a2a45000a2a07050000dabb12340001\
                          7477656564 20746f20666c616e6e656c";
/// A datagram to a subnet that nobody has, and what flannel put into the device about it.
const NOBODY_DEVICE: &str = "450000257b714000401102fe0a2a45000a2a6305973e232800119c67\
                             746f206e6f626f6479";
const NOBODY_ANSWER: &str = "4500003800000000080114720a2a45000a2a45000300a6200000000045000025\
                             7b714000401102fe0a2a45000a2a6305973e232800119c67";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The node of flannel's is ours, or the peer.
fn table(own: &str, peer: &str, endpoint: &str) -> Table {
    let addr: IpAddr = endpoint.parse().unwrap();
    let peer = Peer {
        endpoint: (addr, 8285).into(),
        addresses: Dual::of_addrs([addr]),
        subnets: Dual::of_nets([peer.parse().unwrap()]),
        mtu: 1472,
    };
    Table::new(Dual::of_nets([own.parse().unwrap()]), vec![peer])
}

#[test]
fn what_is_sent_is_what_flannel_sends_byte_for_byte() {
    let table = table("10.42.69.0/24", "10.42.7.0/24", "198.18.0.2");
    for (device, wire) in [(ECHO_DEVICE, ECHO_WIRE), (UDP_DEVICE, UDP_WIRE)] {
        let mut packet_bytes = bytes(device);
        let decision = outbound(&table, &Offload::None, &packet_bytes);
        let Outbound::Send(mut packet, peer) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(PeerId::index(peer), 0);
        packet.decrement_hop_limit(&mut packet_bytes);
        assert_eq!(packet_bytes, bytes(wire));
    }
}

#[test]
fn what_flannel_sends_is_delivered_to_our_pods() {
    let table = table("10.42.7.0/24", "10.42.69.0/24", "198.18.0.1");
    let sender = "198.18.0.1".parse().unwrap();
    for wire in [ECHO_WIRE, UDP_WIRE, REPLY_WIRE] {
        let decision = inbound(&table, Trust::Subnets, sender, &bytes(wire));
        assert!(matches!(decision, Inbound::Deliver(..)), "{decision:?}");
    }
}

#[test]
fn who_sends_to_nobody_is_told_what_flannel_tells_and_more_of_the_packet() {
    let table = table("10.42.69.0/24", "10.42.7.0/24", "198.18.0.2");
    let question = bytes(NOBODY_DEVICE);
    let Outbound::Answer(packet, error, _) = outbound(&table, &Offload::None, &question) else {
        panic!("no answer");
    };
    assert_eq!(error, IcmpError::NoRoute);
    let from = table.own().v4.unwrap().addr();
    let mut out = [0; icmp::MOST_V4];
    let len = icmp::write(error, &packet, &question, from, &mut out).unwrap();
    let (ours, theirs) = (&out[..len], bytes(NOBODY_ANSWER));
    let ours_read = Packet::parse(ours).unwrap();
    let theirs_read = Packet::parse(&theirs).unwrap();
    assert_eq!(ours_read.source, theirs_read.source);
    assert_eq!(ours_read.destination, theirs_read.destination);
    let (ours, theirs) = (ours_read.payload(ours), theirs_read.payload(&theirs));
    assert_eq!(ours[..2], theirs[..2]);
    assert_eq!(ours[4..theirs.len()], theirs[4..]);
    assert_eq!(ours[8..], question[..]);
}
