//! Packets on their way to peers, gathered into messages that the kernel cuts apart again (`UDP_SEGMENT`). A message has
//! packets of one size, only the last may be shorter. Packets of several flows that come mixed are sorted by their sizes
//! for it; the order within a flow stays.

#[cfg(test)]
mod tests;

use std::io::IoSlice;

use tweed_model::Family;

use super::packet::{Fragment, Packet, protocol};
use super::split::Packets;
use super::table::PeerId;

/// The most packets of one message (`UDP_MAX_SEGMENTS` before Linux 6.9).
pub const MOST_PACKETS: usize = 64;
/// The longest message in bytes: what one datagram of IPv4 could carry.
pub const MOST_BYTES: usize = 65_507;

/// Bytes of a message that is worth a system call of its own.
const LARGE: usize = MOST_BYTES / 2;

/// Runs that are kept, and so looked through for the next part of a message.
const RUNS: usize = 320;

/// Flows as the bits they are hashed to. What shares a bit keeps its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows(u64);

impl Flows {
    /// Any flow: nothing overtakes it.
    pub const ANY: Self = Self(u64::MAX);

    /// The flow of a packet: its addresses, its protocol and the ports of TCP and UDP. Fragments of one packet do not all
    /// have ports.
    pub fn of(packet: &Packet, bytes: &[u8]) -> Self {
        if packet.fragment != Fragment::No {
            return Self::ANY;
        }
        let addresses = match packet.family() {
            Family::V4 => bytes.get(12..20),
            Family::V6 => bytes.get(8..40),
        };
        let ports = match packet.protocol {
            protocol::TCP | protocol::UDP => packet.payload(bytes).get(..4),
            _ => None,
        };
        let words = [addresses, ports].into_iter().flatten();
        let hash = words.flat_map(|bytes| bytes.as_chunks::<4>().0).fold(
            u64::from(packet.protocol),
            |hash, word| {
                (hash ^ u64::from(u32::from_ne_bytes(*word))).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            },
        );
        Self(1 << (hash >> 58))
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Packets of one flow and one size that lie one behind the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    peer: PeerId,
    flows: Flows,
    start: usize,
    len: usize,
    size: usize,
    count: usize,
    gone: bool,
}

impl Run {
    fn takes(&self, peer: PeerId, flows: Flows, size: usize) -> bool {
        (self.peer, self.flows, self.size) == (peer, flows, size) && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.count >= MOST_PACKETS || self.len + self.size > MOST_BYTES
    }

    /// Whether a run of shorter packets can be the end of a message with this one.
    fn ends_with(&self, run: &Self) -> bool {
        run.peer == self.peer
            && run.size < self.size
            && run.count == 1
            && self.count < MOST_PACKETS
            && self.len + run.len <= MOST_BYTES
    }
}

/// A message for the underlay.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The receiver.
    pub peer: PeerId,
    /// Its bytes. Each part ends where a packet ends.
    pub parts: &'a [IoSlice<'a>],
    /// Length of each packet but the last in bytes.
    pub size: usize,
    /// Packets.
    pub count: usize,
}

impl Message<'_> {
    /// Bytes of all packets.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Packets that are still to be sent.
#[derive(Debug)]
pub struct Gather {
    bytes: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
}

impl Gather {
    /// Room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self {
            bytes: vec![0; room],
            used: 0,
            runs: Vec::with_capacity(RUNS),
        }
    }

    /// Room for more bytes, if there are at least `least`.
    pub fn room(&mut self, least: usize) -> Option<&mut [u8]> {
        let room = &mut self.bytes[self.used..];
        (room.len() >= least && self.runs.len() + MOST_PACKETS <= RUNS).then_some(room)
    }

    /// Adds what has been written to the beginning of the room. Says whether to send at once: it makes up a large message
    /// that can take no more.
    pub fn add(&mut self, peer: PeerId, flows: Flows, packets: Packets) -> bool {
        for range in packets.iter() {
            let size = range.len();
            let start = self.used;
            self.used += size;
            match self.runs.last_mut() {
                Some(run) if run.takes(peer, flows, size) => {
                    run.count += 1;
                    run.len += size;
                }
                _ => self.runs.push(Run {
                    peer,
                    flows,
                    start,
                    len: size,
                    size,
                    count: 1,
                    gone: false,
                }),
            }
        }
        match self.runs.as_slice() {
            [run] => run.is_full(),
            [run, last] => run.ends_with(last) && self.used >= LARGE,
            _ => false,
        }
    }

    /// Sends everything.
    pub fn drain(&mut self, mut send: impl FnMut(&Message<'_>)) {
        for first in 0..self.runs.len() {
            if self.runs[first].gone {
                continue;
            }
            let Run { peer, size, .. } = self.runs[first];
            let mut parts = [IoSlice::new(&[]); MOST_PACKETS];
            let (mut places, mut count) = (0, 0);
            join(&mut self.runs[first..], |run| {
                parts[places] = IoSlice::new(&self.bytes[run.start..run.start + run.len]);
                places += 1;
                count += run.count;
            });
            let parts = &parts[..places];
            send(&Message {
                peer,
                parts,
                size,
                count,
            });
        }
        self.runs.clear();
        self.used = 0;
    }
}

/// Takes the first run, and those after it that can be in one message with it, in the order in which they belong there.
/// A run must not overtake another of its flows.
fn join(runs: &mut [Run], mut take: impl FnMut(&Run)) {
    let Some((first, rest)) = runs.split_first_mut() else {
        return;
    };
    let mut whole = *first;
    take(first);
    let mut waiting = Flows(0);
    let mut shorter = None;
    for (place, run) in rest.iter_mut().enumerate() {
        if whole.count == MOST_PACKETS || waiting == Flows::ANY {
            break;
        }
        if run.gone {
            continue;
        }
        let free = !waiting.meets(run.flows);
        let fits = (run.peer, run.size) == (whole.peer, whole.size)
            && whole.count + run.count <= MOST_PACKETS
            && whole.len + run.len <= MOST_BYTES;
        if free && fits {
            take(run);
            run.gone = true;
            whole.count += run.count;
            whole.len += run.len;
        } else {
            if free && whole.ends_with(run) {
                shorter = shorter.or(Some(place));
            }
            waiting = waiting.with(run.flows);
        }
    }
    if let Some(place) = shorter
        && whole.ends_with(&rest[place])
    {
        take(&rest[place]);
        rest[place].gone = true;
    }
}
