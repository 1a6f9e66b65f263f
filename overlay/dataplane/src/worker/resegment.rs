//! Super-packets that the device refuses are given to it packet by packet; when it refuses one after the other, no more
//! are made.

use std::io::{self, IoSlice};

use tweed_forward::packet::Packet;
use tweed_forward::segment::Kind;
use tweed_forward::split::split;
use tweed_forward::virtio::{Offload, Super};

/// Super-packets in a row that are refused before the kernel is taken to have no such offload. One alone may have been
/// refused for what somebody put into it.
const GIVE_UP: u32 = 8;
/// The largest packet in bytes.
const LARGEST: usize = 1 << 16;

pub(super) struct Resegmenter {
    /// A super-packet in one piece.
    whole: Vec<u8>,
    /// Its packets.
    cut: Vec<u8>,
    /// Refused in a row: of TCP, of UDP.
    refused: [u32; 2],
}

impl Resegmenter {
    pub(super) fn new() -> Self {
        Self {
            whole: Vec::with_capacity(LARGEST),
            cut: vec![0; 2 * LARGEST],
            refused: [0; 2],
        }
    }

    /// The device took a packet.
    #[inline]
    pub(super) fn taken(&mut self, offload: &Offload) {
        if let Some(kind) = kind(offload) {
            self.refused[place(kind)] = 0;
        }
    }

    /// Writes the packets of one that was refused, if that may help. Says whether all of them were taken.
    pub(super) fn write(
        &mut self,
        error: &io::Error,
        offload: &Offload,
        parts: &[IoSlice<'_>],
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<()>,
    ) -> bool {
        let Offload::Segments { kind, size, .. } = *offload else {
            return false;
        };
        // The device that is down or gone, or has no memory, has nothing against super-packets.
        if error.raw_os_error() != Some(libc::EINVAL) {
            return false;
        }
        self.whole.clear();
        for part in parts {
            self.whole.extend_from_slice(part);
        }
        let Ok(packet) = Packet::parse(&self.whole) else {
            return false;
        };
        let Ok(packets) = split(&packet, &self.whole, kind, size, &mut self.cut) else {
            return false;
        };
        let header = Offload::None.encode();
        let mut all = true;
        for range in packets.iter() {
            let parts = [IoSlice::new(&header), IoSlice::new(&self.cut[range])];
            all &= write(&parts).is_ok();
        }
        if all {
            self.refused[place(of(kind))] += 1;
        }
        all
    }

    /// The kind of packets that need not be joined any more, if it has come to that.
    pub(super) fn given_up(&self, offload: &Offload) -> Option<Kind> {
        let kind = kind(offload)?;
        let given_up = self.refused[place(kind)] == GIVE_UP;
        if given_up {
            tracing::warn!(
                ?kind,
                "the kernel refuses super-packets on the TUN device; packets are given to it one by one from now on"
            );
        }
        given_up.then_some(kind)
    }
}

fn kind(offload: &Offload) -> Option<Kind> {
    match offload {
        Offload::Segments { kind, .. } => Some(of(*kind)),
        Offload::None | Offload::Checksum(_) => None,
    }
}

fn of(kind: Super) -> Kind {
    match kind {
        Super::Tcp4 | Super::Tcp6 => Kind::Tcp,
        Super::Udp => Kind::Udp,
    }
}

fn place(kind: Kind) -> usize {
    usize::from(kind == Kind::Udp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tweed_forward::coalesce::Coalescer;

    /// Two segments of one flow that follow each other, joined: what is written, and the segments.
    fn joined() -> (Offload, Vec<u8>, Vec<Vec<u8>>) {
        // A segment of 20 bytes payload; its checksums are made by cutting.
        let mut bytes = vec![0x45, 0, 0, 80, 0, 1, 0x40, 0, 64, 6, 0, 0];
        bytes.extend([
            10, 42, 2, 5, 10, 42, 1, 5, 0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1,
        ]);
        bytes.extend([0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        bytes.extend(1..=40);
        let packet = Packet::parse(&with_checksum(&mut bytes)).unwrap();
        let mut out = vec![0; 256];
        let packets = split(&packet, &bytes, Super::Tcp4, 20, &mut out).unwrap();
        let segments: Vec<Vec<u8>> = packets.iter().map(|range| out[range].to_vec()).collect();
        let mut buffer = segments.concat();
        let mut coalescer = Coalescer::new(4, 1);
        for start in [0, segments[0].len()] {
            let packet = Packet::parse(&buffer[start..]).unwrap();
            assert!(coalescer.push(&buffer, start, &packet));
        }
        coalescer.seal(&mut buffer);
        assert_eq!(coalescer.len(), 1);
        let (offload, pieces) = coalescer.packets().next().unwrap();
        let whole = pieces.flat_map(|piece| buffer[piece].to_vec()).collect();
        (offload, whole, segments)
    }

    fn with_checksum(bytes: &mut [u8]) -> Vec<u8> {
        use tweed_forward::checksum::Sum;
        let sum = Sum::default().bytes(&bytes[..20]).checksum();
        bytes[10..12].copy_from_slice(&sum);
        bytes.to_vec()
    }

    fn refusal(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn what_is_refused_joined_is_written_as_it_came_and_given_up_after_some_in_a_row() {
        let (offload, whole, segments) = joined();
        let mut resegmenter = Resegmenter::new();
        for round in 1..=GIVE_UP {
            let mut written: Vec<Vec<u8>> = Vec::new();
            let write = |parts: &[IoSlice<'_>]| {
                assert_eq!(*parts[0], Offload::None.encode());
                written.push(parts[1].to_vec());
                Ok(())
            };
            let parts = [IoSlice::new(&whole[..50]), IoSlice::new(&whole[50..])];
            assert!(resegmenter.write(&refusal(libc::EINVAL), &offload, &parts, write));
            assert_eq!(written, segments);
            let expected = (round == GIVE_UP).then_some(Kind::Tcp);
            assert_eq!(resegmenter.given_up(&offload), expected, "{round}");
        }
    }

    #[test]
    fn one_that_is_taken_between_or_refused_for_another_reason_gives_nothing_up() {
        let (offload, whole, _) = joined();
        let mut resegmenter = Resegmenter::new();
        let parts = [IoSlice::new(&whole)];
        for _ in 0..3 * GIVE_UP {
            assert!(resegmenter.write(&refusal(libc::EINVAL), &offload, &parts, |_| Ok(())));
            assert_eq!(resegmenter.given_up(&offload), None);
            resegmenter.taken(&offload);
            let down = |_: &[IoSlice<'_>]| -> io::Result<()> { panic!("written") };
            assert!(!resegmenter.write(&refusal(libc::EIO), &offload, &parts, down));
            // Refused one by one as well: something is wrong with the packets.
            let refuse = |_: &[IoSlice<'_>]| Err(refusal(libc::EINVAL));
            assert!(!resegmenter.write(&refusal(libc::EINVAL), &offload, &parts, refuse));
        }
    }
}
