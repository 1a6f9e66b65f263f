//! Packets by hand: VXLAN around another packet, and router advertisements.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result};
use tweed_lab::datagram::checksum;

/// A router advertisement to all nodes of a link (RFC 4861 §4.2), valid for half an hour.
pub(super) fn advertisement(router: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let addrs = [router, all_nodes].map(|addr| addr.octets()).concat();
    let mut icmp = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let sum = checksum(&[&addrs, &[0, 16, 0, 58][..], &icmp].concat());
    icmp[2..4].copy_from_slice(&sum);
    // Only a hop limit that no router has lowered shows that it comes from the link.
    [&[0x60, 0, 0, 0, 0, 16, 58, 255][..], &addrs, &icmp].concat()
}

/// A VXLAN packet's payload: the frame is for the device with this Ethernet address.
pub(super) fn vxlan(mac: &str, vni: u32, packet: &[u8]) -> Result<Vec<u8>> {
    let ether_type = match packet.first() {
        Some(0x60) => [0x86, 0xdd],
        _ => [8, 0],
    };
    frame(mac, vni, &ether_type, packet)
}

/// The same with other bytes between the Ethernet addresses and what is in the frame.
pub(super) fn frame(mac: &str, vni: u32, between: &[u8], content: &[u8]) -> Result<Vec<u8>> {
    let mac = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let mac: Vec<u8> = mac.collect::<Result<_, _>>().context("read a MAC")?;
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(mac);
    bytes.extend([0xa2, 0, 0, 0, 0, 0x66]);
    bytes.extend(between);
    bytes.extend(content);
    Ok(bytes)
}

/// The next address.
pub(super) fn next(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => IpAddr::V4((u32::from(addr) + 1).into()),
        IpAddr::V6(addr) => IpAddr::V6((u128::from(addr) + 1).into()),
    }
}
