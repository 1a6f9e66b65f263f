//! From the peers to the device. What comes in one turn is joined before it is written.

use std::io::{self, IoSlice};

use tweed_forward::coalesce::{Coalescer, MOST_PACKETS};
use tweed_forward::decide::{Inbound, inbound};
use tweed_forward::packet::{Malformed, Packet};
use tweed_forward::reason::Reason;
use tweed_forward::segment::Kind;
use tweed_forward::trace::{Direction, TraceVerdict};
use tweed_host::random;
use tweed_model::Family;

use super::resegment::Resegmenter;
use super::state::WorkerState;
use crate::socket::Received;

/// Messages that are received in one turn, their packets and bytes. Small packets must not hold up the other
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
    resegmenter: Resegmenter,
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
            resegmenter: Resegmenter::new(),
            first: Family::V4,
        }
    }

    /// Carries what the sockets have, but not more than a turn's worth: one message, if it is the `first` after a
    /// silence. Says whether there may be more.
    pub(super) fn turn(&mut self, state: &mut WorkerState, first: bool) -> io::Result<bool> {
        let (mut place, mut packets, mut bytes) = (0, 0, 0);
        let most = if first { 1 } else { MESSAGES };
        let is_full = |place, packets, bytes| place == most || packets >= PACKETS || bytes >= BYTES;
        self.first = self.first.other();
        for family in [self.first, self.first.other()] {
            while !is_full(place, packets, bytes) {
                let Some(socket) = state.sockets.get(family) else {
                    break;
                };
                let start = place * LONGEST;
                let buffer = &mut self.buffer[start..start + LONGEST];
                let Some(received) = socket.receive(buffer)? else {
                    break;
                };
                self.take(state, start, received);
                place += 1;
                packets += received.len.div_ceil(received.size.max(1));
                bytes += received.len;
            }
        }
        self.write(state);
        Ok(is_full(place, packets, bytes))
    }

    /// Decides about the datagrams of one message.
    fn take(&mut self, state: &mut WorkerState, start: usize, received: Received) {
        let Received { from, len, size } = received;
        let asked = state.trials.are_running();
        let mut damaged = false;
        let sender = from.ip().to_canonical();
        let mut at = start;
        // An empty datagram is one too.
        loop {
            let end = (at + size).min(start + len);
            let bytes = &self.buffer[at..end];
            match inbound(&state.table, state.options.trust, sender, bytes) {
                Inbound::Deliver(packet, peer) => {
                    state.trace(Direction::In, bytes, Some(sender), TraceVerdict::Delivered);
                    let len = u64::from(packet.len);
                    state.counters.delivered.count(1, len, 0);
                    if let Some(peer) = peer {
                        let calls = u64::from(at == start);
                        state.peers.of(peer).received.count(1, len, calls);
                    }
                    if asked && state.takes_answer(&packet, bytes) {
                        state.counters.delivered.calls += 1;
                    } else {
                        self.add(state, at, &packet);
                    }
                }
                Inbound::Drop(Reason::Malformed(Malformed::Empty))
                    if state.table.knows_sender(sender) =>
                {
                    state.counters.keep_alives += 1;
                }
                Inbound::Drop(reason) => {
                    state.trace(
                        Direction::In,
                        bytes,
                        Some(sender),
                        TraceVerdict::Dropped(reason),
                    );
                    state.counters.drop(reason);
                    damaged |= matches!(reason, Reason::Malformed(_));
                }
            }
            at = end;
            if at >= start + len {
                break;
            }
        }
        if size < len {
            state.came_joined(from, damaged);
        }
    }

    /// Adds a packet to what is written.
    fn add(&mut self, state: &mut WorkerState, at: usize, packet: &Packet) {
        if !self.coalescer.has_room() {
            self.write(state);
        }
        let added = self.coalescer.push(&self.buffer, at, packet);
        debug_assert!(added, "there is room after a write");
    }

    /// Writes what has been gathered.
    fn write(&mut self, state: &mut WorkerState) {
        let Self {
            buffer,
            coalescer,
            resegmenter,
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
            state.counters.delivered.calls += 1;
            match state.tun.write(&parts[..count]) {
                Ok(()) => resegmenter.taken(&offload),
                Err(error) => {
                    let write = |bytes: &[IoSlice<'_>]| state.tun.write(bytes);
                    if resegmenter.write(&error, &offload, &parts[1..count], write) {
                        state.counters.delivered_singly += 1;
                    } else {
                        state.counters.write_errors += 1;
                    }
                    refused = refused.or(resegmenter.given_up(&offload));
                }
            }
        }
        coalescer.clear();
        if let Some(kind) = refused {
            coalescer.leave_alone(kind);
            state.joins[usize::from(kind == Kind::Udp)] = false;
        }
    }
}
