//! Whether datagrams that the kernel has joined (`UDP_GRO`) come as they were sent. The kernel verifies the checksum of each
//! before it joins them; what is no packet after that was sent so, or was damaged here.

use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::Socket;
use super::loopback::Wrong;

/// Joined messages in a row that hold something that is no packet, for the kernel not to be asked for more of them.
const DAMAGED: u8 = 8;
/// When it is asked again.
const RETRY: Duration = Duration::from_mins(10);

/// What has come joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Joined {
    /// Messages in a row that were damaged.
    damaged: u8,
    /// Until when datagrams are taken one by one for that.
    until: Option<Duration>,
}

impl Joined {
    /// A message has come. Says whether that was the last one to be believed.
    fn came(&mut self, damaged: bool, now: Duration) -> bool {
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

    /// Whether it is time to ask again.
    fn again(&mut self, now: Duration) -> bool {
        let again = self.until.is_some_and(|until| until <= now);
        if again {
            *self = Self::default();
        }
        again
    }
}

impl Socket {
    /// Leaves alone what is wrong with this kernel.
    pub fn avoid(&mut self, wrong: &Wrong) {
        self.segments &= wrong.send.is_none();
        if wrong.receive.is_some() {
            self.join(false);
        }
    }

    /// A message of joined datagrams has come from a peer, and whether it held something that is no packet.
    #[inline]
    pub(crate) fn came_joined(&mut self, damaged: bool, now: Duration) {
        if self.joined.came(damaged, now) {
            self.join(false);
            tracing::warn!(
                "datagrams that the kernel joins come damaged, {DAMAGED} messages in a row; they are received one by one \
                 for ten minutes"
            );
        }
    }

    /// Whether datagrams come one by one since they came damaged when joined.
    pub fn joined_damaged(&self) -> bool {
        self.joined.until.is_some()
    }

    /// Asks the kernel to join datagrams again, if it is time.
    pub(crate) fn join_again(&mut self, now: Duration) {
        if self.joined.again(now) {
            self.join(true);
        }
    }

    fn join(&mut self, joins: bool) {
        if setsockopt(&self.fd, sockopt::UdpGroSegment, &joins).is_ok() {
            self.gro = joins;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_damaged_messages_in_a_row_end_it_for_ten_minutes_and_fewer_do_not() {
        let mut joined = Joined::default();
        let now = Duration::from_secs(5);
        for _ in 0..100 {
            for _ in 1..DAMAGED {
                assert!(!joined.came(true, now));
            }
            assert!(!joined.came(false, now));
        }
        assert_eq!(joined, Joined::default());
        let ends = (0..2 * DAMAGED).filter(|_| joined.came(true, now));
        assert_eq!(ends.count(), 1, "once");
        assert!(!joined.again(now + RETRY - Duration::from_secs(1)));
        assert!(joined.again(now + RETRY) && !joined.again(now + RETRY));
        assert_eq!(joined, Joined::default());
    }
}
