//! Times that take little room: there are some for each peer.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// A time of the prober in whole microseconds. One that may be missing takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Micros(NonZeroU64);

impl From<Duration> for Micros {
    fn from(time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // One more than it is.
        Self(NonZeroU64::MIN.saturating_add(micros))
    }
}

impl From<Micros> for Duration {
    fn from(Micros(micros): Micros) -> Self {
        Self::from_micros(micros.get() - 1)
    }
}

/// How long an answer took, in microseconds: at least one, at most an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RoundTrip(NonZeroU32);

impl From<Duration> for RoundTrip {
    fn from(time: Duration) -> Self {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }
}

impl From<RoundTrip> for Duration {
    fn from(RoundTrip(micros): RoundTrip) -> Self {
        Self::from_micros(micros.get().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_were_to_the_microsecond() {
        for micros in [0, 1, 999, 86_400_000_000 * 365] {
            let time = Duration::from_micros(micros);
            assert_eq!(Duration::from(Micros::from(time)), time);
        }
        let time = Duration::from_micros(250);
        assert_eq!(Duration::from(RoundTrip::from(time)), time);
        assert!(Duration::from(RoundTrip::from(Duration::ZERO)) < time);
        assert!(Micros::from(Duration::MAX) > Micros::from(time));
    }
}
