//! The questions of a [trial](super): ICMP echoes to the address of a peer's device, which the peer's kernel answers,
//! whatever agent runs there. RFC 792 for IPv4, RFC 4443 §4 for IPv6.

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::header;
use crate::packet::{Fragment, Packet, protocol};
use crate::split::Packets;

/// Packets of a question that is asked together with others.
pub const TOGETHER: usize = 4;
/// The largest packet of a question in bytes, and so most of what one takes.
pub const LARGEST: usize = 1200;
/// Room for any question.
pub const ROOM: usize = TOGETHER * LARGEST;

/// Length of ICMP's header, and of what follows it for us.
const ICMP: usize = 8;
const TOKEN: usize = 8;

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In a datagram of its own.
    Alone,
    /// As one of several datagrams in one message. The others are answers to nothing, which a kernel passes over: if each
    /// was answered, the answers could be sent in one message, and would tell of the peer's kernel instead of ours.
    Together {
        /// Which one it is.
        place: usize,
        /// Whether the last one is shorter than the others.
        short: bool,
    },
}

/// The addresses between which an echo goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrPair {
    /// Our device's.
    pub from: IpAddr,
    /// The peer's device's.
    pub to: IpAddr,
}

/// What tells one question from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the trial.
    pub token: u64,
    /// Of the question within it.
    pub number: u16,
}

/// Writes a question to the beginning of `out`, in packets of `size` bytes, [`LARGEST`] at most. None if the families
/// differ or there is no room.
pub fn write(
    pair: AddrPair,
    mark: Mark,
    form: Form,
    size: usize,
    out: &mut [u8],
) -> Option<Packets> {
    let size = size.min(LARGEST);
    let (count, place, short) = match form {
        Form::Alone => (1, 0, false),
        Form::Together { place, short } => (TOGETHER, place, short),
    };
    let last = if short { size / 2 } else { size };
    let packets = Packets {
        size,
        len: size * (count - 1) + last,
    };
    out.get(..packets.len)?;
    for (number, range) in packets.iter().enumerate() {
        packet(pair, mark, number == place, &mut out[range])?;
    }
    Some(packets)
}

/// Writes a question that fills `out`. None if the families differ or there is no room.
pub fn write_whole(pair: AddrPair, mark: Mark, out: &mut [u8]) -> Option<()> {
    packet(pair, mark, true, out)
}

/// The mark of the question that a packet answers, if it is an answer to one of ours.
pub fn answered(packet: &Packet, bytes: &[u8]) -> Option<Mark> {
    let kind = match packet.protocol {
        protocol::ICMP => 0,
        protocol::ICMPV6 => 129,
        _ => return None,
    };
    let message = packet.payload(bytes);
    if packet.fragment != Fragment::No || message.first() != Some(&kind) {
        return None;
    }
    let (head, rest) = message.split_first_chunk::<ICMP>()?;
    let (token, _) = rest.split_first_chunk::<TOKEN>()?;
    let mark = Mark {
        token: u64::from_be_bytes(*token),
        number: u16::from_be_bytes([head[6], head[7]]),
    };
    let whole = sum(packet.source, packet.destination, message).is_valid();
    (whole && head[4..6] == id(mark)).then_some(mark)
}

fn packet(pair: AddrPair, mark: Mark, asks: bool, out: &mut [u8]) -> Option<()> {
    let AddrPair { from, to } = pair;
    let (kinds, message) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(out.len()).ok()?;
            let (header, message) = out.split_first_chunk_mut::<20>()?;
            header::v4(header, 0, len, from, to);
            ([0, 8], message)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let (header, message) = out.split_first_chunk_mut::<40>()?;
            header::v6(header, u16::try_from(message.len()).ok()?, from, to);
            ([129, 128], message)
        }
        _ => return None,
    };
    if message.len() < ICMP + TOKEN {
        return None;
    }
    for (place, byte) in message.iter_mut().enumerate() {
        *byte = (place as u8) ^ (mark.number as u8);
    }
    message[..4].copy_from_slice(&[kinds[usize::from(asks)], 0, 0, 0]);
    message[4..6].copy_from_slice(&id(mark));
    message[6..8].copy_from_slice(&mark.number.to_be_bytes());
    message[ICMP..ICMP + TOKEN].copy_from_slice(&mark.token.to_be_bytes());
    let checksum = sum(from, to, message).checksum();
    message[2..4].copy_from_slice(&checksum);
    Some(())
}

/// ICMP's identifier.
fn id(mark: Mark) -> [u8; 2] {
    (mark.token as u16).to_be_bytes()
}

/// Over a message as it is: ICMPv6 covers addresses too.
fn sum(from: IpAddr, to: IpAddr, message: &[u8]) -> Sum {
    let before = match from {
        IpAddr::V4(_) => Sum::default(),
        IpAddr::V6(_) => Sum::pseudo_header(from, to, protocol::ICMPV6, message.len() as u16),
    };
    before.bytes(message)
}
