//! The conditions of iptables' own making (`-m …`), as the kernel keeps them: the same bytes in legacy iptables and in
//! iptables-nft.

use super::passage::{Holds, Packet};

/// Connection tracking's bit for packets of new flows.
pub const NEW: u32 = 8;
/// The number of UDP.
pub const UDP: u8 = 17;

/// Whether a condition holds for packets. `revision` is that of its bytes.
pub fn holds(packet: &Packet, name: &[u8], revision: u8, info: &[u8]) -> Holds {
    let judged = match name {
        b"comment" => Some(Holds::Yes),
        b"tcp" | b"icmp" | b"icmp6" | b"sctp" | b"dccp" => packet.port.map(|_| Holds::No),
        b"udp" => udp(packet, info),
        b"multiport" if revision == 1 => multiport(packet, info),
        b"state" => states(packet, number(info, 0, 4)),
        b"conntrack" => conntrack(packet, revision, info),
        _ => None,
    };
    judged.unwrap_or(Holds::Perhaps)
}

/// First and last source port, first and last destination port, what is inverted.
fn udp(packet: &Packet, info: &[u8]) -> Option<Holds> {
    let port = |at| number(info, at, 2);
    let any_source = (port(0)?, port(2)?) == (0, 0xffff);
    let inverted = *info.get(8)?;
    let inside = (port(4)?..=port(6)?).contains(&u32::from(packet.port?));
    let known = any_source && inverted & 1 == 0;
    known.then(|| Holds::of(inside).inverted(inverted & 2 != 0))
}

/// Of which ports, how many there are, the ports, whether each begins a range, and whether all is inverted.
fn multiport(packet: &Packet, info: &[u8]) -> Option<Holds> {
    const DESTINATION: u8 = 1;
    const MOST: usize = 15;
    let (port, count) = (
        u32::from(packet.port?),
        usize::from(*info.get(1)?).min(MOST),
    );
    if *info.first()? != DESTINATION {
        return None;
    }
    let at = |index: usize| number(info, 2 + 2 * index, 2);
    let (mut index, mut found) = (0, false);
    while index < count {
        let first = at(index)?;
        let range = *info.get(2 + 2 * MOST + index)? != 0;
        index += usize::from(range);
        found |= (first..=at(index)?).contains(&port);
        index += 1;
    }
    let inverted = *info.get(2 + 3 * MOST)? != 0;
    Some(Holds::of(found).inverted(inverted))
}

/// Behind addresses, times and ports: what is compared, what of it is inverted, and the states.
fn conntrack(packet: &Packet, revision: u8, info: &[u8]) -> Option<Holds> {
    const STATE: u32 = 1;
    const FLAGS: usize = 146;
    let length = match revision {
        1 => 1,
        2 | 3 => 2,
        _ => return None,
    };
    if number(info, FLAGS, 2)? != STATE {
        return None;
    }
    let inverted = number(info, FLAGS + 2, 2)? & STATE != 0;
    let holds = states(packet, number(info, FLAGS + 4, length))?;
    Some(holds.inverted(inverted))
}

fn states(packet: &Packet, mask: Option<u32>) -> Option<Holds> {
    let mask = mask?;
    packet.new.then(|| Holds::of(mask & NEW != 0))
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let mut wide = [0; 4];
    let bytes = bytes.get(at..at + length)?;
    match cfg!(target_endian = "big") {
        true => wide[4 - length..].copy_from_slice(bytes),
        false => wide[..length].copy_from_slice(bytes),
    }
    Some(u32::from_ne_bytes(wide))
}
