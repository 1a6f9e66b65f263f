//! How many ICMP errors are sent: token buckets, as RFC 4443 §2.4(f) wants them. Values; the time is an argument.

use std::time::Duration;

use super::icmp::IcmpError;

/// A token, in the units in which credit is counted.
const TOKEN: u64 = 1_000_000_000;

/// So many a second, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens a second.
    rate: u32,
    /// Tokens that can be saved.
    burst: u32,
    /// Billionths of a token: a nanosecond earns as many as there are tokens a second.
    credit: u64,
    last: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate,
            burst,
            credit: u64::from(burst) * TOKEN,
            last: Duration::ZERO,
        }
    }

    /// Takes a token, if there is one. `now` is the time since any fixed moment; one that goes back earns nothing.
    pub fn take(&mut self, now: Duration) -> bool {
        let nanoseconds = now.saturating_sub(self.last).as_nanos();
        let elapsed = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        let earned = elapsed.saturating_mul(u64::from(self.rate));
        self.credit = self
            .credit
            .saturating_add(earned)
            .min(u64::from(self.burst) * TOKEN);
        self.last = self.last.max(now);
        let left = self.credit.checked_sub(TOKEN);
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }
}

/// The limits of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    unreachable: Bucket,
    too_big: Bucket,
}

impl Default for Limits {
    /// Unreachable and time exceeded: a thousand a second and fifty at once, of one worker, for all pods together. What tells a
    /// sender the MTU has a bucket of its own, and a larger one: a flood of the others must not become a black hole.
    fn default() -> Self {
        Self {
            unreachable: Bucket::new(1_000, 50),
            too_big: Bucket::new(10_000, 1_000),
        }
    }
}

impl Limits {
    /// Whether an error may be sent now.
    pub fn allow(&mut self, error: IcmpError, now: Duration) -> bool {
        match error {
            IcmpError::TooBig { .. } => self.too_big.take(now),
            IcmpError::NoRoute | IcmpError::AddressUnreachable | IcmpError::HopLimit => {
                self.unreachable.take(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_time_has_earned(
            rate in 0..5_000u32,
            burst in 0..100u32,
            steps in prop::collection::vec(0..10_000_000u64, 1..500),
        ) {
            let mut bucket = Bucket::new(rate, burst);
            let (mut now, mut taken) = (0, 0);
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(Duration::from_nanos(now)));
                let earned = now * u64::from(rate) / TOKEN;
                prop_assert!(taken <= u64::from(burst) + earned);
            }
        }

        #[test]
        fn any_times_in_any_order_are_fine(times in prop::collection::vec(any::<(u64, u32)>(), 0..50)) {
            let mut bucket = Bucket::new(u32::MAX, u32::MAX);
            for (seconds, nanoseconds) in times {
                bucket.take(Duration::new(seconds, nanoseconds % 1_000_000_000));
            }
        }
    }

    #[test]
    fn a_flood_of_unreachable_leaves_the_mtu_its_say() {
        let mut limits = Limits::default();
        let now = Duration::from_secs(1);
        let sent = (0..5_000).filter(|_| limits.allow(IcmpError::NoRoute, now));
        assert_eq!(sent.count(), 50);
        assert!(limits.allow(IcmpError::TooBig { mtu: 1400 }, now));
        let later = now + Duration::from_millis(10);
        let sent = (0..5_000).filter(|_| limits.allow(IcmpError::HopLimit, later));
        assert_eq!(sent.count(), 10);
    }
}
