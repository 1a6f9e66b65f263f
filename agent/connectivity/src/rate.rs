//! How much a path carries, for one moment: transfers one after the other, each twice as large as the one before.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::key::Key;
use super::wire;

/// After so long no other transfer begins.
const LONG: Duration = Duration::from_secs(1);
/// A transfer that takes longer hangs: one that begins in time, at an even rate, is about as long as all before it.
const HUNG: Duration = Duration::from_secs(3);
const FIRST: u32 = 256 << 10;
const LARGEST: u32 = 64 << 20;

/// What has been carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes of whole transfers; none where even the smallest hangs.
    pub bytes: u64,
    /// In that time.
    pub taken: Duration,
}

impl Carried {
    /// Bits in a second.
    pub fn rate(&self) -> u64 {
        let nanos = self.taken.as_nanos().max(1);
        let rate = u128::from(self.bytes) * 8 * 1_000_000_000 / nanos;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// Sends to a responder for a second or a little more, in full packets, until all has been counted at its end.
///
/// # Errors
/// If the responder refuses; that nothing arrives is no error.
pub async fn carry(to: SocketAddr, key: &Key) -> io::Result<Carried> {
    let start = Instant::now();
    let (mut bytes, mut part) = (0, FIRST);
    while start.elapsed() < LONG {
        match wire::transfer(to, key, part, HUNG).await {
            Ok(()) => bytes += u64::from(part),
            Err(error) if error.kind() == ErrorKind::TimedOut => break,
            Err(error) => return Err(error),
        }
        part = LARGEST.min(part * 2);
    }
    let taken = start.elapsed();
    Ok(Carried { bytes, taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_all_that_arrived_in_all_the_time_that_it_took() {
        let rate = |bytes, millis| {
            let taken = Duration::from_millis(millis);
            Carried { bytes, taken }.rate()
        };
        assert_eq!(rate(125_000_000, 1_000), 1_000_000_000);
        assert_eq!(rate(1_000, 500), 16_000);
        assert_eq!(rate(0, 5_000), 0);
        assert_eq!(rate(u64::MAX, 0), u64::MAX);
    }
}
