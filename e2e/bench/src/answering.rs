//! Peers that answer echoes through the tunnel, without a kernel for each: one host sends back what is asked of all of
//! them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun::Layer;
use tweed_lab::topology::{Host, UPLINK};

use crate::dataplane::device::Device;

/// Where the peers of [`crate::agent::peer`] are.
const UNDERLAY: &str = "198.19.0.0/16";
const DEVICE: &str = "peers0";
/// How often the thread looks whether it should end, in milliseconds.
const LOOK: u16 = 100;
/// No packet is longer.
const LONGEST: usize = 2048;

/// Headers of a packet in VXLAN, all without options: outer IPv4, UDP, VXLAN, Ethernet.
const OUTER: usize = 20 + 8 + 8;
const ETHERNET: usize = OUTER + 14;
const ICMP: usize = ETHERNET + 20;
const ECHO_REQUEST: u8 = 8;

/// The thread that answers; it ends when this is dropped.
#[derive(Debug)]
pub struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    /// Has `answering` answer for all peers that `asking` asks.
    ///
    /// # Errors
    /// When the kernel refuses device or routes.
    pub fn start(answering: &Host, asking: &Host) -> Result<Self> {
        let device = answering.place().run(|| Device::open(DEVICE, Layer::L3))?;
        answering.sh(&format!("ip link set {DEVICE} up"))?;
        answering.sh(&format!("ip route add {UNDERLAY} dev {DEVICE}"))?;
        for switch in ["ip_forward=1", "conf.all.rp_filter=0"] {
            answering.sh(&format!("sysctl -q -w net.ipv4.{switch}"))?;
        }
        answering.sh(&format!("sysctl -q -w net.ipv4.conf.{DEVICE}.rp_filter=0"))?;
        asking.sh(&format!(
            "ip route add {UNDERLAY} via {} dev {UPLINK}",
            answering.v4()
        ))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = thread::spawn(move || answer(device, &ends));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut device: Device, stop: &AtomicBool) {
    let mut buffer = [0; LONGEST];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(LOOK));
        while let Ok(Some(length)) = device.read(&mut buffer) {
            if turn_round(&mut buffer[..length]) {
                device.write(&buffer[..length]);
            }
        }
    }
}

/// Makes the answer of an echo request. A checksum is a sum: addresses that change places leave it as it is. VXLAN's UDP has
/// none.
fn turn_round(packet: &mut [u8]) -> bool {
    if packet.len() < ICMP + 8 || packet[ICMP] != ECHO_REQUEST {
        return false;
    }
    swap(packet, 12, 4);
    swap(packet, OUTER, 6);
    swap(packet, ETHERNET + 12, 4);
    packet[ICMP] = 0;
    let sum = u32::from(u16::from_be_bytes([packet[ICMP + 2], packet[ICMP + 3]]));
    let sum = sum + (u32::from(ECHO_REQUEST) << 8);
    let sum = (sum + (sum >> 16)) as u16;
    packet[ICMP + 2..ICMP + 4].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Has two fields of this length, one after the other, change places.
fn swap(packet: &mut [u8], first: usize, length: usize) {
    let (before, after) = packet.split_at_mut(first + length);
    before[first..].swap_with_slice(&mut after[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_back_the_way_it_came_with_a_right_checksum() {
        let mut packet: Vec<u8> = (0..ICMP as u8 + 9).collect();
        packet[ICMP..ICMP + 4].copy_from_slice(&[ECHO_REQUEST, 0, 0xf7, 0xfe]);
        let before = packet.clone();
        assert!(turn_round(&mut packet));
        assert_eq!(packet[12..16], before[16..20]);
        assert_eq!(packet[16..20], before[12..16]);
        assert_eq!(packet[OUTER..OUTER + 6], before[OUTER + 6..OUTER + 12]);
        assert_eq!(packet[ICMP..ICMP + 4], [0, 0, 0xff, 0xfe]);
        assert!(!turn_round(&mut packet), "an answer is not answered");
    }
}
