//! From the peers to the device. What comes in one turn is joined before it is written.

use std::io::{self, IoSlice};

use tweed_forward::coalesce::{Coalescer, MOST_PACKETS};
use tweed_forward::decide::{Inbound, inbound};
use tweed_forward::packet::{Malformed, Packet};
use tweed_forward::reason::Reason;
use tweed_forward::segment::Kind;
use tweed_forward::trace::{Verdict, Way};
use tweed_host::random;
use tweed_model::Family;

use super::path::Path;
use super::singly::Singly;
use crate::socket::Received;

/// Messages that are received in one turn, their packets and bytes. Whoever sends small packets must not hold up the other
/// direction for longer than large ones do.
const MESSAGES: usize = 32;
const PACKETS: usize = 512;
const BYTES: usize = 1 << 20;
/// The longest message in bytes.
const LONGEST: usize = 1 << 16;

/// Buffers of this direction.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    coalescer: Coalescer,
    singly: Singly,
    /// The family that is looked at first: one that always has a turn's worth must not keep the other waiting.
    first: Family,
}

impl Inbox {
    /// `joins` says whether the device takes super-packets of TCP, and of UDP.
    pub(super) fn new(joins: [bool; 2]) -> Self {
        let capacity = MESSAGES * usize::from(MOST_PACKETS);
        let mut coalescer = Coalescer::new(capacity, random::bits());
        for (kind, joins) in [Kind::Tcp, Kind::Udp].into_iter().zip(joins) {
            if !joins {
                coalescer.leave_alone(kind);
            }
        }
        Self {
            buffer: vec![0; MESSAGES * LONGEST],
            coalescer,
            singly: Singly::new(),
            first: Family::V4,
        }
    }

    /// Carries what the sockets have, but not more than a turn's worth: one message, if it is the `first` after a
    /// silence. Says whether there may be more.
    pub(super) fn turn(&mut self, path: &mut Path, first: bool) -> io::Result<bool> {
        let (mut place, mut packets, mut bytes) = (0, 0, 0);
        let most = if first { 1 } else { MESSAGES };
        let is_full = |place, packets, bytes| place == most || packets >= PACKETS || bytes >= BYTES;
        self.first = self.first.other();
        for family in [self.first, self.first.other()] {
            while !is_full(place, packets, bytes) {
                let Some(socket) = path.sockets.get(family) else {
                    break;
                };
                let start = place * LONGEST;
                let buffer = &mut self.buffer[start..start + LONGEST];
                let Some(received) = socket.receive(buffer)? else {
                    break;
                };
                self.take(path, start, received);
                place += 1;
                packets += received.len.div_ceil(received.size.max(1));
                bytes += received.len;
            }
        }
        self.write(path);
        Ok(is_full(place, packets, bytes))
    }

    /// Decides about the datagrams of one message.
    fn take(&mut self, path: &mut Path, start: usize, received: Received) {
        let Received { from, len, size } = received;
        let tries = path.tries.are_running();
        let mut damaged = false;
        let sender = from.ip().to_canonical();
        let mut at = start;
        // An empty datagram is one too.
        loop {
            let end = (at + size).min(start + len);
            let bytes = &self.buffer[at..end];
            match inbound(&path.table, path.options.trust, sender, bytes) {
                Inbound::Deliver(packet, peer) => {
                    path.trace(Way::In, bytes, Some(sender), Verdict::Delivered);
                    let len = u64::from(packet.len);
                    path.counters.delivered.count(1, len, 0);
                    if let Some(peer) = peer {
                        let calls = u64::from(at == start);
                        path.peers.of(peer).received.count(1, len, calls);
                    }
                    if tries && path.takes_answer(&packet, bytes) {
                        path.counters.delivered.calls += 1;
                    } else {
                        self.add(path, at, &packet);
                    }
                }
                Inbound::Drop(Reason::Malformed(Malformed::Empty))
                    if path.table.knows_sender(sender) =>
                {
                    path.counters.keep_alives += 1;
                }
                Inbound::Drop(reason) => {
                    path.trace(Way::In, bytes, Some(sender), Verdict::Dropped(reason));
                    path.counters.drop(reason);
                    damaged |= matches!(reason, Reason::Malformed(_));
                }
            }
            at = end;
            if at >= start + len {
                break;
            }
        }
        if size < len {
            path.came_joined(from, damaged);
        }
    }

    /// Adds a packet to what is written.
    fn add(&mut self, path: &mut Path, at: usize, packet: &Packet) {
        if !self.coalescer.has_room() {
            self.write(path);
        }
        let added = self.coalescer.push(&self.buffer, at, packet);
        debug_assert!(added, "there is room after a write");
    }

    /// Writes what has been gathered.
    fn write(&mut self, path: &mut Path) {
        let Self {
            buffer,
            coalescer,
            singly,
            ..
        } = self;
        coalescer.seal(buffer);
        let mut refused = None;
        for (offload, pieces) in coalescer.packets() {
            let header = offload.encode();
            let mut parts = [IoSlice::new(&[]); MOST_PACKETS as usize + 1];
            parts[0] = IoSlice::new(&header);
            let mut count = 1;
            for piece in pieces {
                parts[count] = IoSlice::new(&buffer[piece]);
                count += 1;
            }
            path.counters.delivered.calls += 1;
            match path.tun.write(&parts[..count]) {
                Ok(()) => singly.taken(&offload),
                Err(error) => {
                    let write = |bytes: &[IoSlice<'_>]| path.tun.write(bytes);
                    if singly.write(&error, &offload, &parts[1..count], write) {
                        path.counters.delivered_singly += 1;
                    } else {
                        path.counters.write_errors += 1;
                    }
                    refused = refused.or(singly.given_up(&offload));
                }
            }
        }
        coalescer.clear();
        if let Some(kind) = refused {
            coalescer.leave_alone(kind);
            path.joins[usize::from(kind == Kind::Udp)] = false;
        }
    }
}
