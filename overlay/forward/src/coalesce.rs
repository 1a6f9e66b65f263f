//! Consecutive packets of a flow joined into one super-packet, which the kernel takes in one write: TCP and UDP GRO.
//! Nothing is copied. The headers of the first packet become those of the whole, in place; the payloads are a list of
//! pieces for one gathered write. [`split`](super::split) gives back the packets that went in.

mod flows;
mod join;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::flows::{Flows, Place};
use self::join::{Form, Member};
use super::packet::Packet;
use super::segment::Kind;
use super::virtio::Offload;

/// The largest super-packet in bytes: what IPv4's length field can say.
const MOST_BYTES: usize = u16::MAX as usize;
/// Packets in one super-packet: as many as UDP receives at once, and few enough for one gathered write (`UIO_MAXIOV` is
/// 1024).
pub const MOST_PACKETS: u16 = 64;

/// The end of a list of pieces.
const NONE: usize = usize::MAX;

/// A part of the buffer, and the part that follows it on the wire.
#[derive(Clone, Debug)]
struct Piece {
    range: Range<usize>,
    next: usize,
}

/// One packet, or several in one.
#[derive(Clone, Debug)]
struct Group {
    /// The first packet, where it is of a flow.
    head: Option<Member>,
    /// The first packet's bytes, then the others' payloads.
    first: usize,
    last: usize,
    packets: u16,
    /// Payload bytes in all.
    payload: usize,
    /// Whether another packet may join.
    open: bool,
    /// Whether the last packet had TCP's PSH.
    push: bool,
    /// What the kernel is to do with it, once sealed.
    offload: Offload,
}

/// Kinds of packets that are not joined.
#[derive(Clone, Copy, Debug, Default)]
struct Alone {
    tcp: bool,
    udp: bool,
}

impl Alone {
    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Tcp => self.tcp,
            Kind::Udp => self.udp,
        }
    }
}

/// The packets of a batch, in one buffer. All memory is taken when it is made; a batch allocates nothing.
#[derive(Debug)]
pub struct Coalescer {
    pieces: Vec<Piece>,
    groups: Vec<Group>,
    flows: Flows,
    /// How many packets fit.
    capacity: usize,
    /// Groups before this one are closed, whatever they say.
    closed_before: usize,
    /// What is left alone.
    alone: Alone,
}

impl Coalescer {
    /// Room for so many packets at once. An unpredictable `seed` keeps senders from choosing flows that collide, which
    /// would cost them and others the joining.
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            pieces: Vec::with_capacity(capacity),
            groups: Vec::with_capacity(capacity),
            flows: Flows::new(capacity, seed),
            capacity,
            closed_before: 0,
            alone: Alone::default(),
        }
    }

    /// Joins no packets of this kind any more: the kernel refuses its super-packets, as it does UDP's before 6.2.
    pub fn leave_alone(&mut self, kind: Kind) {
        match kind {
            Kind::Tcp => self.alone.tcp = true,
            Kind::Udp => self.alone.udp = true,
        }
    }

    /// Whether another packet fits.
    pub fn has_room(&self) -> bool {
        self.pieces.len() < self.capacity
    }

    /// Adds a packet that begins at `start` of `buffer`, the same for the whole batch. Says whether it did, which it
    /// does while there is [room](Self::has_room).
    ///
    /// Packets of a flow keep their order: one that cannot join closes what its flow has open.
    #[must_use]
    pub fn push(&mut self, buffer: &[u8], start: usize, packet: &Packet) -> bool {
        if !self.has_room() {
            return false;
        }
        let range = start..start + usize::from(packet.len);
        match Form::of(packet, buffer, start) {
            Form::Member(member) if self.alone.has(member.kind()) => self.begin(None, range),
            Form::Member(member) => self.join_or_begin(buffer, member, range),
            Form::Other => self.begin(None, range),
            Form::Unknown => {
                self.begin(None, range);
                self.closed_before = self.groups.len();
            }
        }
        true
    }

    /// Makes each group one packet: headers in `buffer` become those of the whole. To be called once, after the last
    /// packet and before the groups are read.
    pub fn seal(&mut self, buffer: &mut [u8]) {
        for group in self.groups.iter_mut().filter(|group| group.packets > 1) {
            if let Some(head) = group.head {
                group.offload = head.seal(buffer, group.payload, group.push);
            }
        }
    }

    /// How many packets are left of those added.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What remains, in the order in which the first packet of each came: what goes into the virtio-net header, and
    /// the parts of the buffer that make up the packet.
    pub fn packets(
        &self,
    ) -> impl ExactSizeIterator<Item = (Offload, impl Iterator<Item = Range<usize>>)> {
        self.groups
            .iter()
            .map(|group| (group.offload, self.pieces_of(group)))
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.groups.clear();
        self.flows.clear();
        self.closed_before = 0;
    }

    fn pieces_of(&self, group: &Group) -> impl Iterator<Item = Range<usize>> {
        let mut next = group.first;
        std::iter::from_fn(move || {
            let piece = self.pieces.get(next)?;
            next = piece.next;
            Some(piece.range.clone())
        })
    }

    fn join_or_begin(&mut self, buffer: &[u8], member: Member, range: Range<usize>) {
        let hash = member.hash(buffer, self.flows.seed);
        let is_it = |index: usize| {
            let head = self.groups[index].head.as_ref();
            head.is_some_and(|head| head.is_same_flow(&member, buffer))
        };
        let place = self.flows.find(hash, is_it);
        if let Place::Taken(_, index) = place
            && index >= self.closed_before
            && self.join(buffer, &member, index)
        {
            return;
        }
        let index = self.groups.len();
        self.begin(Some(member), range);
        self.flows.set(&place, hash, index);
    }

    /// Appends a payload to the group, if it is the one that follows.
    fn join(&mut self, buffer: &[u8], next: &Member, index: usize) -> bool {
        let group = &mut self.groups[index];
        let Some(head) = group.head.filter(|_| group.open) else {
            return false;
        };
        let len = head.headers() + group.payload + next.payload_len();
        if len > MOST_BYTES
            || group.packets >= MOST_PACKETS
            || !head.is_followed_by(next, buffer, group.payload, group.packets)
        {
            return false;
        }
        let piece = self.pieces.len();
        self.pieces[group.last].next = piece;
        self.pieces.push(Piece {
            range: next.payload_at()..next.payload_at() + next.payload_len(),
            next: NONE,
        });
        group.last = piece;
        group.packets += 1;
        group.payload += next.payload_len();
        group.push = next.push;
        group.open = next.is_open() && next.payload_len() == head.payload_len();
        true
    }

    fn begin(&mut self, head: Option<Member>, range: Range<usize>) {
        let piece = self.pieces.len();
        self.pieces.push(Piece { range, next: NONE });
        self.groups.push(Group {
            first: piece,
            last: piece,
            packets: 1,
            payload: head.as_ref().map_or(0, Member::payload_len),
            open: head.as_ref().is_some_and(Member::is_open),
            push: false,
            offload: Offload::None,
            head,
        });
    }
}
