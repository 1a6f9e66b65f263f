//! From the peers to the device. What comes in one turn is joined before it is written.

use std::io::{self, IoSlice};

use super::Path;
use crate::forward::coalesce::{Coalescer, MOST_PACKETS};
use crate::forward::decide::{Inbound, inbound};
use crate::forward::socket::Received;
use crate::model::Family;
use crate::random;

/// Messages that are received in one turn.
const MESSAGES: usize = 32;
/// The longest message in bytes.
const LONGEST: usize = 1 << 16;

/// Buffers of this direction.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    coalescer: Coalescer,
}

impl Inbox {
    pub(super) fn new(join_udp: bool) -> Self {
        let coalescer = Coalescer::new(MESSAGES * usize::from(MOST_PACKETS), random::bits());
        Self {
            buffer: vec![0; MESSAGES * LONGEST],
            coalescer: if join_udp {
                coalescer
            } else {
                coalescer.without_udp()
            },
        }
    }

    /// Carries what the sockets have, but not more than a turn's worth. Says whether there may be more.
    pub(super) fn turn(&mut self, path: &mut Path) -> io::Result<bool> {
        let mut place = 0;
        for family in Family::BOTH {
            while place < MESSAGES {
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
            }
        }
        self.write(path);
        Ok(place == MESSAGES)
    }

    /// Decides about the datagrams of one message.
    fn take(&mut self, path: &mut Path, start: usize, received: Received) {
        let Received { from, len, size } = received;
        let mut at = start;
        // An empty datagram is one too.
        loop {
            let end = (at + size).min(start + len);
            let bytes = &self.buffer[at..end];
            match inbound(&path.table, path.trust, from.ip(), bytes) {
                Inbound::Deliver(packet) => {
                    if !self.coalescer.has_room() {
                        self.write(path);
                    }
                    let added = self.coalescer.push(&self.buffer, at, &packet);
                    debug_assert!(added, "there is room after a write");
                    path.counters.delivered.packets += 1;
                    path.counters.delivered.bytes += u64::from(packet.len);
                }
                Inbound::Drop(reason) => path.counters.drop(reason),
            }
            at = end;
            if at >= start + len {
                return;
            }
        }
    }

    /// Writes what has been gathered.
    fn write(&mut self, path: &mut Path) {
        let Self { buffer, coalescer } = self;
        coalescer.seal(buffer);
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
            if path.tun.write(&parts[..count]).is_err() {
                path.counters.write_errors += 1;
            }
        }
        coalescer.clear();
    }
}
