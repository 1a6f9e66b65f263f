//! From the device to the peers. What is read in one turn is gathered into as few messages as go.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use tweed_forward::decide::{Outbound, outbound};
use tweed_forward::fragment::fragment;
use tweed_forward::gather::{Flows, Gather};
use tweed_forward::icmp::{self, IcmpError};
use tweed_forward::packet::Packet;
use tweed_forward::reason::Reason;
use tweed_forward::split::{Packets, complete, split};
use tweed_forward::table::PeerId;
use tweed_forward::trace::{Direction, TraceVerdict};
use tweed_forward::virtio::{self, Offload};

use super::state::WorkerState;
use crate::socket::Sent;

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
    gather: Gather,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            read: vec![0; virtio::LEN + LARGEST],
            cut: vec![0; CUT],
            gather: Gather::new(2 * CUT),
        }
    }

    /// Carries what the device has, but not more than a turn's worth: one packet, if it is the `first` after a silence.
    /// Says whether there may be more.
    pub(super) fn turn(&mut self, state: &mut WorkerState, first: bool) -> io::Result<bool> {
        state.begin_turn();
        let mut bytes = 0;
        for _ in 0..if first { 1 } else { READS } {
            if bytes >= READ_BYTES {
                break;
            }
            let Some(len) = state.tun.read(&mut self.read)? else {
                self.end(state);
                return Ok(false);
            };
            bytes += len;
            if let Err(reason) = self.carry(state, len) {
                state.counters.drop(reason);
            }
        }
        self.end(state);
        Ok(true)
    }

    fn end(&mut self, state: &mut WorkerState) {
        send(&mut self.gather, state);
        state.probe();
    }

    fn carry(&mut self, state: &mut WorkerState, len: usize) -> Result<(), Reason> {
        let (header, bytes) = self.read[..len].split_at_mut(virtio::LEN.min(len));
        let offload = Offload::parse(header).map_err(|_| Reason::Offload)?;
        let decision = outbound(&state.table, &offload, bytes);
        let (mut packet, peer) = match decision {
            Outbound::Send(packet, peer) | Outbound::Fragment(packet, peer) => (packet, peer),
            Outbound::Answer(packet, error, reason) => {
                let verdict = match answer(state, error, &packet, bytes) {
                    true => TraceVerdict::Answered(reason),
                    false => TraceVerdict::Dropped(reason),
                };
                state.trace(Direction::Out, bytes, None, verdict);
                return Err(reason);
            }
            Outbound::Drop(reason) => {
                state.trace(Direction::Out, bytes, None, TraceVerdict::Dropped(reason));
                return Err(reason);
            }
        };
        let fragments = matches!(decision, Outbound::Fragment(..));
        if state.is_traced() {
            let to = state.table.peer(peer).endpoint;
            let verdict = if fragments {
                TraceVerdict::Fragmented(to)
            } else {
                TraceVerdict::Sent(to)
            };
            state.trace(Direction::Out, bytes, None, verdict);
        }
        packet.decrement_hop_limit(bytes);
        if let Offload::Checksum(checksum) = offload {
            complete(&packet, bytes, checksum).map_err(|_| Reason::Offload)?;
        }
        let flows = Flows::of(&packet, bytes);
        let Self { cut, gather, .. } = self;
        match offload {
            Offload::Segments { kind, size, .. } if fragments => {
                let packets =
                    split(&packet, bytes, kind, size, cut).map_err(|_| Reason::Offload)?;
                for range in packets.iter() {
                    let bytes = &cut[range];
                    let packet = Packet::parse(bytes)?;
                    fragmented(gather, state, peer, (&packet, bytes))?;
                }
            }
            _ if fragments => fragmented(gather, state, peer, (&packet, bytes))?,
            Offload::Segments { kind, size, .. } => {
                let out = room(gather, state);
                let packets = split(&packet, bytes, kind, size, out);
                let packets = packets.map_err(|_| Reason::Offload)?;
                add(gather, state, (peer, flows), packets);
            }
            Offload::None | Offload::Checksum(_) => {
                let bytes = packet.trim(bytes);
                let (size, len) = (bytes.len(), bytes.len());
                room(gather, state)[..len].copy_from_slice(bytes);
                add(gather, state, (peer, flows), Packets { size, len });
            }
        }
        Ok(())
    }
}

/// Room for what one packet may become.
fn room<'a>(gather: &'a mut Gather, state: &mut WorkerState) -> &'a mut [u8] {
    if gather.room(CUT).is_none() {
        send(gather, state);
    }
    gather.room(CUT).unwrap_or_default()
}

/// Adds what has been written to the beginning of the room.
fn add(
    gather: &mut Gather,
    state: &mut WorkerState,
    (peer, flows): (PeerId, Flows),
    packets: Packets,
) {
    if gather.add(peer, flows, packets) {
        send(gather, state);
    }
}

fn fragmented(
    gather: &mut Gather,
    state: &mut WorkerState,
    peer: PeerId,
    (packet, bytes): (&Packet, &[u8]),
) -> Result<(), Reason> {
    let mtu = state.table.peer(peer).mtu;
    let out = room(gather, state);
    let packets = fragment(packet, bytes, mtu, out).map_err(|_| Reason::TooBig)?;
    add(gather, state, (peer, Flows::ANY), packets);
    Ok(())
}

/// Sends everything.
fn send(gather: &mut Gather, state: &mut WorkerState) {
    gather.drain(|message| {
        let to = state.table.peer(message.peer).endpoint;
        let socket = match to {
            SocketAddr::V4(_) => state.sockets.v4.as_mut(),
            SocketAddr::V6(_) => state.sockets.v6.as_mut(),
        };
        let together = !state.trials.of(message.peer).singly;
        let by_path_mtu = !state.trials.has_false_mtu(message.peer);
        let sent = socket.map(|socket| {
            socket.use_path_mtu(by_path_mtu);
            match together {
                true => socket.send(to, message.parts, message.size),
                false => socket.send_one_by_one(to, message.parts, message.size),
            }
        });
        let packets = message.count as u64;
        let counters = &mut state.counters;
        let Some(Ok(sent)) = sent else {
            counters.send_errors += packets;
            return;
        };
        let bytes = message.len() as u64;
        let calls = if sent == Sent::Whole { 1 } else { packets };
        counters.sent.count(packets, bytes, calls);
        counters.sent_singly += u64::from(sent != Sent::Whole);
        let peer = state.peers.of(message.peer);
        peer.sent.count(packets, bytes, calls);
        if sent == Sent::Narrow {
            state.suspect = Some(to);
        }
        if packets > 1 && state.trials.of(message.peer).due <= state.now {
            state.try_together(message.peer);
        }
    });
}

/// Tells a packet's sender, where the limits allow it. Says whether it did.
fn answer(state: &mut WorkerState, error: IcmpError, packet: &Packet, bytes: &[u8]) -> bool {
    let Some(own) = state.table.own().get(packet.family()) else {
        return false;
    };
    if !state.limits.allow(error, state.now) {
        return false;
    }
    let mut out = [0; icmp::MOST_V6];
    let Some(len) = icmp::write(error, packet, bytes, own.addr(), &mut out) else {
        return false;
    };
    let header = Offload::None.encode();
    let parts = [IoSlice::new(&header), IoSlice::new(&out[..len])];
    let told = state.tun.write(&parts).is_ok();
    state.counters.answers += u64::from(told);
    state.counters.write_errors += u64::from(!told);
    told
}
