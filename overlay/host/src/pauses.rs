//! Pauses between attempts: each twice as long as the one before, up to a longest one. What is random about them the
//! caller adds.

use std::time::Duration;

/// The pauses of attempts that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    /// Pauses that begin with the first.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// How long to wait now.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }

    /// Begins with the first again.
    pub fn start_over(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let seconds = Duration::from_secs;
        let mut pauses = Pauses::new(seconds(1), seconds(30));
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(pauses.next_pause(), seconds(expected));
        }
        pauses.start_over();
        assert_eq!(pauses.next_pause(), seconds(1));
    }
}
