//! Waiting longer after each failure, and never in step with others.

use std::time::Duration;

use tweed_host::pauses::Pauses;
use tweed_host::random;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Failures (or fights with another program) that follow each other more quickly than this belong together.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// Delays of 100 ms, doubling to 5 s, each shortened at random by up to half.
#[derive(Debug)]
pub(crate) struct Backoff {
    pauses: Pauses,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            pauses: Pauses::new(FIRST, LONGEST),
        }
    }
}

impl Backoff {
    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        jittered(self.pauses.next_pause())
    }

    /// Starts over if things went well for a while before the failure.
    pub(crate) fn reset_after(&mut self, well: Duration) {
        if well > QUIET {
            self.pauses.start_over();
        }
    }
}

/// Between half of a duration and all of it.
pub(crate) fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + random::fraction() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_five_seconds_and_start_over() {
        let mut backoff = Backoff::default();
        for longest in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let delay = backoff.next().as_millis();
            assert!(
                (longest / 2..=longest).contains(&delay),
                "{delay} of {longest}"
            );
        }
        backoff.reset_after(Duration::from_secs(1));
        assert!(backoff.next() > FIRST);
        backoff.reset_after(Duration::from_secs(11));
        assert!(backoff.next() <= FIRST);
    }
}
