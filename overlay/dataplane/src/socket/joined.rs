//! Whether datagrams that the kernel has joined (`UDP_GRO`) come as they were sent. The kernel verifies the checksum of each
//! before it joins them; what is no packet after that was sent so, or was damaged here.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// Joined messages in a row that hold something that is no packet, for the kernel not to be asked for more of them.
const DAMAGED: u8 = 8;
/// When it is asked again.
const RETRY: Duration = Duration::from_mins(10);

/// Whether the kernel joins datagrams, and how they came.
#[derive(Debug)]
pub(super) struct Joined {
    on: bool,
    record: Record,
}

/// What has come joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// Messages in a row that were damaged.
    damaged: u8,
    /// Until when datagrams are taken one by one for that.
    until: Option<Duration>,
}

impl Joined {
    /// Asks the kernel to join. One without it gives each datagram by itself.
    pub(super) fn start(fd: &OwnedFd) -> Self {
        Self {
            on: setsockopt(fd, sockopt::UdpGroSegment, &true).is_ok(),
            record: Record::default(),
        }
    }

    /// Whether the kernel joins.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether it was told not to, since what it joined was damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.record.until.is_some()
    }

    pub(super) fn switch(&mut self, on: bool, fd: &OwnedFd) {
        if setsockopt(fd, sockopt::UdpGroSegment, &on).is_ok() {
            self.on = on;
        }
    }

    /// A joined message has come. After too many damaged ones in a row no more are asked for.
    #[inline]
    pub(super) fn came(&mut self, damaged: bool, now: Duration, fd: &OwnedFd) {
        if self.record.add(damaged, now) {
            self.switch(false, fd);
            tracing::warn!(
                "datagrams that the kernel joins come damaged, {DAMAGED} messages in a row; they are received one by one \
                 for ten minutes"
            );
        }
    }

    /// Asks the kernel to join again, if it is time.
    pub(super) fn again(&mut self, now: Duration, fd: &OwnedFd) {
        if self.record.expire(now) {
            self.switch(true, fd);
        }
    }
}

impl Record {
    /// Adds a message. Says whether it was the last of too many that were damaged.
    fn add(&mut self, damaged: bool, now: Duration) -> bool {
        self.damaged = match damaged {
            true => self.damaged.saturating_add(1),
            false => 0,
        };
        let gives_up = self.damaged == DAMAGED;
        if gives_up {
            self.until = Some(now + RETRY);
        }
        gives_up
    }

    /// Whether it is time to ask again; then it begins anew.
    fn expire(&mut self, now: Duration) -> bool {
        let expired = self.until.is_some_and(|until| until <= now);
        if expired {
            *self = Self::default();
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_damaged_messages_in_a_row_end_it_for_ten_minutes_and_fewer_do_not() {
        let mut record = Record::default();
        let now = Duration::from_secs(5);
        for _ in 0..100 {
            for _ in 1..DAMAGED {
                assert!(!record.add(true, now));
            }
            assert!(!record.add(false, now));
        }
        assert_eq!(record, Record::default());
        let ends = (0..2 * DAMAGED).filter(|_| record.add(true, now));
        assert_eq!(ends.count(), 1, "once");
        assert!(!record.expire(now + RETRY - Duration::from_secs(1)));
        assert!(record.expire(now + RETRY) && !record.expire(now + RETRY));
        assert_eq!(record, Record::default());
    }
}
