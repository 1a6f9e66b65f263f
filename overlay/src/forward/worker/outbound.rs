//! From the device to the peers. Packets to one peer that are of one size, and follow each other, are one message.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::path::Path;
use crate::forward::decide::{Outbound, outbound};
use crate::forward::fragment::fragment;
use crate::forward::icmp::{self, IcmpError};
use crate::forward::packet::Packet;
use crate::forward::reason::Reason;
use crate::forward::socket::{MOST_BYTES, MOST_SEGMENTS, Sent};
use crate::forward::split::{Packets, complete, split};
use crate::forward::table::{PeerId, Table};
use crate::forward::trace::{Verdict, Way};
use crate::forward::virtio::{self, Offload};
use crate::model::Family;

/// Packets, or super-packets, that are read in one turn, and their bytes. It takes about as long as a turn the other way.
const READS: usize = 256;
const READ_BYTES: usize = 1 << 20;
/// The largest packet in bytes.
const LARGEST: usize = 1 << 16;
/// Room for the segments of one super-packet with segments of 100 bytes and more.
const CUT: usize = 2 * LARGEST;

/// Buffers of this direction.
pub(super) struct Outbox {
    read: Vec<u8>,
    /// Segments that are yet to be fragmented.
    cut: Vec<u8>,
    queue: Queue,
}

/// Packets that are still to be sent, one behind the other. The last message among them is still open.
struct Queue {
    bytes: Vec<u8>,
    used: usize,
    message: Option<Message>,
}

/// Packets of one size for one peer; only the last may be shorter.
#[derive(Clone, Copy)]
struct Message {
    peer: PeerId,
    start: usize,
    size: usize,
    count: usize,
    open: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            read: vec![0; virtio::LEN + LARGEST],
            cut: vec![0; CUT],
            queue: Queue {
                bytes: vec![0; 2 * CUT],
                used: 0,
                message: None,
            },
        }
    }

    /// Carries what the device has, but not more than a turn's worth. Says whether there may be more.
    pub(super) fn turn(&mut self, path: &mut Path) -> io::Result<bool> {
        let table = Arc::clone(&path.table);
        let mut bytes = 0;
        for _ in 0..READS {
            if bytes >= READ_BYTES {
                break;
            }
            let Some(len) = path.tun.read(&mut self.read)? else {
                self.end(path, &table);
                return Ok(false);
            };
            bytes += len;
            if let Err(reason) = self.carry(path, &table, len) {
                path.counters.drop(reason);
            }
        }
        self.end(path, &table);
        Ok(true)
    }

    fn end(&mut self, path: &mut Path, table: &Table) {
        self.queue.flush(path, table);
        path.probe();
    }

    fn carry(&mut self, path: &mut Path, table: &Table, len: usize) -> Result<(), Reason> {
        let (header, bytes) = self.read[..len].split_at_mut(virtio::LEN.min(len));
        let offload = Offload::parse(header).map_err(|_| Reason::Offload)?;
        let decision = outbound(table, &offload, bytes);
        let (mut packet, peer) = match decision {
            Outbound::Send(packet, peer) | Outbound::Fragment(packet, peer) => (packet, peer),
            Outbound::Answer(packet, error, reason) => {
                path.trace(Way::Out, bytes, None, Verdict::Answered(reason));
                answer(path, table, error, &packet, bytes);
                return Err(reason);
            }
            Outbound::Drop(reason) => {
                path.trace(Way::Out, bytes, None, Verdict::Dropped(reason));
                return Err(reason);
            }
        };
        let fragments = matches!(decision, Outbound::Fragment(..));
        if path.tracing.is_some() {
            let to = table.peer(peer).endpoint;
            let verdict = if fragments {
                Verdict::Fragmented(to)
            } else {
                Verdict::Sent(to)
            };
            path.trace(Way::Out, bytes, None, verdict);
        }
        packet.decrement_hop_limit(bytes);
        if let Offload::Checksum(checksum) = offload {
            complete(&packet, bytes, checksum).map_err(|_| Reason::Offload)?;
        }
        let Self { cut, queue, .. } = self;
        let pieces = fragments.then_some(table.peer(peer).mtu);
        match (offload, pieces) {
            (Offload::Segments { kind, size, .. }, None) => {
                let out = queue.room(path, table);
                let packets = split(&packet, bytes, kind, size, out);
                queue.add(path, table, peer, packets.map_err(|_| Reason::Offload)?);
            }
            (Offload::Segments { kind, size, .. }, Some(mtu)) => {
                let packets =
                    split(&packet, bytes, kind, size, cut).map_err(|_| Reason::Offload)?;
                for range in packets.iter() {
                    let bytes = &cut[range];
                    let packet = Packet::parse(bytes)?;
                    queue.fragment(path, table, peer, (&packet, bytes, mtu))?;
                }
            }
            (_, Some(mtu)) => queue.fragment(path, table, peer, (&packet, bytes, mtu))?,
            (_, None) => {
                let bytes = packet.trim(bytes);
                queue.room(path, table)[..bytes.len()].copy_from_slice(bytes);
                let (size, len) = (bytes.len(), bytes.len());
                queue.add(path, table, peer, Packets { size, len });
            }
        }
        Ok(())
    }
}

impl Queue {
    /// Room for what one packet may become.
    fn room(&mut self, path: &mut Path, table: &Table) -> &mut [u8] {
        if self.bytes.len() - self.used < CUT {
            self.flush(path, table);
        }
        &mut self.bytes[self.used..]
    }

    /// Adds what has been written to the beginning of the room.
    fn add(&mut self, path: &mut Path, table: &Table, peer: PeerId, packets: Packets) {
        for range in packets.iter() {
            let len = range.len();
            let start = self.used;
            self.used += len;
            if let Some(message) = self.message.as_mut()
                && message.takes(peer, start, len)
            {
                message.count += 1;
                message.open = len == message.size;
                continue;
            }
            self.send(path, table, start);
            self.message = Some(Message {
                peer,
                start,
                size: len,
                count: 1,
                open: true,
            });
        }
    }

    fn fragment(
        &mut self,
        path: &mut Path,
        table: &Table,
        peer: PeerId,
        (packet, bytes, mtu): (&Packet, &[u8], u16),
    ) -> Result<(), Reason> {
        let out = self.room(path, table);
        let packets = fragment(packet, bytes, mtu, out).map_err(|_| Reason::TooBig)?;
        self.add(path, table, peer, packets);
        Ok(())
    }

    /// Sends everything.
    fn flush(&mut self, path: &mut Path, table: &Table) {
        self.send(path, table, self.used);
        self.used = 0;
    }

    /// Sends the open message, which ends at `end`.
    fn send(&mut self, path: &mut Path, table: &Table, end: usize) {
        let Some(message) = self.message.take() else {
            return;
        };
        let bytes = &self.bytes[message.start..end];
        let to = table.peer(message.peer).endpoint;
        let family = Family::of(&to.ip());
        let socket = match family {
            Family::V4 => path.sockets.v4.as_mut(),
            Family::V6 => path.sockets.v6.as_mut(),
        };
        let sent = socket.map(|socket| socket.send(to, bytes, message.size));
        let counters = &mut path.counters;
        let Some(Ok(sent)) = sent else {
            counters.send_errors += message.count as u64;
            return;
        };
        let packets = message.count as u64;
        let calls = if sent == Sent::Whole { 1 } else { packets };
        counters.sent.count(packets, bytes.len() as u64, calls);
        counters.sent_singly += u64::from(sent != Sent::Whole);
        let peer = path.peers.of(message.peer);
        peer.sent.count(packets, bytes.len() as u64, calls);
        if sent == Sent::Narrow {
            path.suspect = Some(to);
        }
    }
}

impl Message {
    /// Whether a packet of `len` bytes at `start` can be its next.
    fn takes(&self, peer: PeerId, start: usize, len: usize) -> bool {
        self.open
            && self.peer == peer
            && len <= self.size
            && self.count < MOST_SEGMENTS
            && start + len - self.start <= MOST_BYTES
    }
}

/// Tells a packet's sender, where the limits allow it.
fn answer(path: &mut Path, table: &Table, error: IcmpError, packet: &Packet, bytes: &[u8]) {
    let Some(own) = table.own().get(packet.family()) else {
        return;
    };
    if !path.limits.allow(error, path.now) {
        return;
    }
    let mut out = [0; icmp::MOST_V6];
    let Some(len) = icmp::write(error, packet, bytes, own.addr(), &mut out) else {
        return;
    };
    let header = Offload::None.encode();
    match path
        .tun
        .write(&[IoSlice::new(&header), IoSlice::new(&out[..len])])
    {
        Ok(()) => path.counters.answers += 1,
        Err(_) => path.counters.write_errors += 1,
    }
}
