//! A cable that now and then lets frames overtake one: two TAP devices and a thread between them. Kernels without netem
//! have nothing that does it. The kernel cuts super-packets before a TAP device, so that frames are what overtakes.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun::Layer;

use super::device::Device;

/// The word that makes the benchmark do this instead of measuring.
pub const COMMAND: &str = "shuffle";
/// Frames that overtake one that is held.
const BEHIND: u32 = 5;
/// The longest that a frame is held when none comes behind it, in milliseconds.
const LONGEST: u16 = 1;

/// One direction.
struct Lane {
    /// Every how many frames one is held, 0 for never.
    every: u32,
    seen: u32,
    held: Option<(Vec<u8>, u32)>,
}

/// What to do, as words of a command line: two devices, and every how many frames one is held.
///
/// # Errors
/// When a word is missing or the kernel refuses.
pub fn run(words: &[String]) -> Result<()> {
    let [left, right, every] = words else {
        bail!("{COMMAND} <device> <device> <every>, not {words:?}");
    };
    let every = every.parse().context("a number of frames")?;
    let mut devices = [
        Device::open(left, Layer::L2)?,
        Device::open(right, Layer::L2)?,
    ];
    let mut lanes = [Lane::new(every), Lane::new(every)];
    let mut buffer = vec![0; 1 << 16];
    loop {
        let held = lanes.iter().any(|lane| lane.held.is_some());
        let [left, right] = &devices;
        let mut fds = [left.as_fd(), right.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let limit = if held {
            PollTimeout::from(LONGEST)
        } else {
            PollTimeout::NONE
        };
        let silent = poll(&mut fds, limit)? == 0;
        for (from, lane) in lanes.iter_mut().enumerate() {
            let (low, high) = devices.split_at_mut(1);
            let (from, to) = match from {
                0 => (&mut low[0], &mut high[0]),
                _ => (&mut high[0], &mut low[0]),
            };
            if silent {
                lane.flush(|frame| to.write(frame));
            }
            for _ in 0..64 {
                let Some(len) = from.read(&mut buffer)? else {
                    break;
                };
                lane.pass(&buffer[..len], |frame| to.write(frame));
            }
        }
    }
}

impl Lane {
    fn new(every: u32) -> Self {
        Self {
            every,
            seen: 0,
            held: None,
        }
    }

    fn pass(&mut self, frame: &[u8], mut out: impl FnMut(&[u8])) {
        self.seen += 1;
        if self.held.is_none() && self.every > 0 && self.seen >= self.every {
            self.seen = 0;
            self.held = Some((frame.to_vec(), 0));
            return;
        }
        out(frame);
        if let Some((_, passed)) = &mut self.held {
            *passed += 1;
            if *passed == BEHIND {
                self.flush(out);
            }
        }
    }

    fn flush(&mut self, mut out: impl FnMut(&[u8])) {
        if let Some((frame, _)) = self.held.take() {
            out(&frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(every: u32, count: u8) -> Vec<u8> {
        let mut lane = Lane::new(every);
        let mut out = Vec::new();
        for number in 0..count {
            lane.pass(&[number], |frame| out.push(frame[0]));
        }
        lane.flush(|frame| out.push(frame[0]));
        out
    }

    #[test]
    fn now_and_then_frames_overtake_one() {
        assert_eq!(order(4, 10), [0, 1, 2, 4, 5, 6, 7, 8, 3, 9]);
        assert_eq!(order(4, 6), [0, 1, 2, 4, 5, 3]);
    }

    #[test]
    fn none_is_overtaken_unless_asked_for() {
        assert_eq!(order(0, 5), [0, 1, 2, 3, 4]);
    }
}
