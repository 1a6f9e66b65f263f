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
use tweed_forward::trace::{Verdict, Way};
use tweed_forward::virtio::{self, Offload};

use super::path::Path;
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
    pub(super) fn turn(&mut self, path: &mut Path, first: bool) -> io::Result<bool> {
        path.be_patient();
        let mut bytes = 0;
        for _ in 0..if first { 1 } else { READS } {
            if bytes >= READ_BYTES {
                break;
            }
            let Some(len) = path.tun.read(&mut self.read)? else {
                self.end(path);
                return Ok(false);
            };
            bytes += len;
            if let Err(reason) = self.carry(path, len) {
                path.counters.drop(reason);
            }
        }
        self.end(path);
        Ok(true)
    }

    fn end(&mut self, path: &mut Path) {
        send(&mut self.gather, path);
        path.probe();
    }

    fn carry(&mut self, path: &mut Path, len: usize) -> Result<(), Reason> {
        let (header, bytes) = self.read[..len].split_at_mut(virtio::LEN.min(len));
        let offload = Offload::parse(header).map_err(|_| Reason::Offload)?;
        let decision = outbound(&path.table, &offload, bytes);
        let (mut packet, peer) = match decision {
            Outbound::Send(packet, peer) | Outbound::Fragment(packet, peer) => (packet, peer),
            Outbound::Answer(packet, error, reason) => {
                let verdict = match answer(path, error, &packet, bytes) {
                    true => Verdict::Answered(reason),
                    false => Verdict::Dropped(reason),
                };
                path.trace(Way::Out, bytes, None, verdict);
                return Err(reason);
            }
            Outbound::Drop(reason) => {
                path.trace(Way::Out, bytes, None, Verdict::Dropped(reason));
                return Err(reason);
            }
        };
        let fragments = matches!(decision, Outbound::Fragment(..));
        if path.is_traced() {
            let to = path.table.peer(peer).endpoint;
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
        let flows = Flows::of(&packet, bytes);
        let Self { cut, gather, .. } = self;
        match offload {
            Offload::Segments { kind, size, .. } if fragments => {
                let packets =
                    split(&packet, bytes, kind, size, cut).map_err(|_| Reason::Offload)?;
                for range in packets.iter() {
                    let bytes = &cut[range];
                    let packet = Packet::parse(bytes)?;
                    fragmented(gather, path, peer, (&packet, bytes))?;
                }
            }
            _ if fragments => fragmented(gather, path, peer, (&packet, bytes))?,
            Offload::Segments { kind, size, .. } => {
                let out = room(gather, path);
                let packets = split(&packet, bytes, kind, size, out);
                let packets = packets.map_err(|_| Reason::Offload)?;
                add(gather, path, (peer, flows), packets);
            }
            Offload::None | Offload::Checksum(_) => {
                let bytes = packet.trim(bytes);
                let (size, len) = (bytes.len(), bytes.len());
                room(gather, path)[..len].copy_from_slice(bytes);
                add(gather, path, (peer, flows), Packets { size, len });
            }
        }
        Ok(())
    }
}

/// Room for what one packet may become.
fn room<'a>(gather: &'a mut Gather, path: &mut Path) -> &'a mut [u8] {
    if gather.room(CUT).is_none() {
        send(gather, path);
    }
    gather.room(CUT).unwrap_or_default()
}

/// Adds what has been written to the beginning of the room.
fn add(gather: &mut Gather, path: &mut Path, (peer, flows): (PeerId, Flows), packets: Packets) {
    if gather.add(peer, flows, packets) {
        send(gather, path);
    }
}

fn fragmented(
    gather: &mut Gather,
    path: &mut Path,
    peer: PeerId,
    (packet, bytes): (&Packet, &[u8]),
) -> Result<(), Reason> {
    let mtu = path.table.peer(peer).mtu;
    let out = room(gather, path);
    let packets = fragment(packet, bytes, mtu, out).map_err(|_| Reason::TooBig)?;
    add(gather, path, (peer, Flows::ANY), packets);
    Ok(())
}

/// Sends everything.
fn send(gather: &mut Gather, path: &mut Path) {
    gather.drain(|message| {
        let to = path.table.peer(message.peer).endpoint;
        let socket = match to {
            SocketAddr::V4(_) => path.sockets.v4.as_mut(),
            SocketAddr::V6(_) => path.sockets.v6.as_mut(),
        };
        let together = !path.tries.of(message.peer).singly;
        let heed = !path.tries.is_misled(message.peer);
        let sent = socket.map(|socket| {
            socket.heed_path_mtu(heed);
            match together {
                true => socket.send(to, message.parts, message.size),
                false => socket.send_singly(to, message.parts, message.size),
            }
        });
        let packets = message.count as u64;
        let counters = &mut path.counters;
        let Some(Ok(sent)) = sent else {
            counters.send_errors += packets;
            return;
        };
        let bytes = message.len() as u64;
        let calls = if sent == Sent::Whole { 1 } else { packets };
        counters.sent.count(packets, bytes, calls);
        counters.sent_singly += u64::from(sent != Sent::Whole);
        let peer = path.peers.of(message.peer);
        peer.sent.count(packets, bytes, calls);
        if sent == Sent::Narrow {
            path.suspect = Some(to);
        }
        if packets > 1 && path.tries.of(message.peer).due <= path.now {
            path.try_together(message.peer);
        }
    });
}

/// Tells a packet's sender, where the limits allow it. Says whether it did.
fn answer(path: &mut Path, error: IcmpError, packet: &Packet, bytes: &[u8]) -> bool {
    let Some(own) = path.table.own().get(packet.family()) else {
        return false;
    };
    if !path.limits.allow(error, path.now) {
        return false;
    }
    let mut out = [0; icmp::MOST_V6];
    let Some(len) = icmp::write(error, packet, bytes, own.addr(), &mut out) else {
        return false;
    };
    let header = Offload::None.encode();
    let parts = [IoSlice::new(&header), IoSlice::new(&out[..len])];
    let told = path.tun.write(&parts).is_ok();
    path.counters.answers += u64::from(told);
    path.counters.write_errors += u64::from(!told);
    told
}
