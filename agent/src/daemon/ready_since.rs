//! Since when the node has been ready, or not.

/// The last answer, and when it was another one. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadySince {
    ready: bool,
    since: u64,
}

impl ReadySince {
    /// Of an agent that starts now.
    pub fn start(now: u64) -> Self {
        Self {
            ready: false,
            since: now,
        }
    }

    /// Files whether the node is ready now. Returns whether that is another answer than before.
    pub fn take(&mut self, ready: bool, now: u64) -> bool {
        self.since = self.at(ready, now);
        std::mem::replace(&mut self.ready, ready) != ready
    }

    /// Since when this has been the answer, if it is the answer now.
    pub fn at(&self, ready: bool, now: u64) -> u64 {
        match ready == self.ready {
            true => self.since,
            false => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_last_change() {
        let mut since = ReadySince::start(10);
        assert_eq!((since.at(false, 12), since.at(true, 12)), (10, 12));
        assert!(since.take(true, 13));
        assert!(!since.take(true, 20));
        assert_eq!((since.at(true, 30), since.at(false, 30)), (13, 30));
    }
}
