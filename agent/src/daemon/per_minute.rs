//! Limits lines of the log that others could cause in any number: some a minute, and a count of the rest.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts the lines of a minute.
#[derive(Debug)]
pub struct PerMinute {
    most: usize,
    since: Option<Instant>,
    lines: usize,
    left_out: usize,
}

impl PerMinute {
    /// So many lines at most.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            since: None,
            lines: 0,
            left_out: 0,
        }
    }

    /// Whether there may be another line; if not, it counts as left out.
    pub fn may_be_told(&mut self, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let may = self.lines < self.most;
        match may {
            true => self.lines += 1,
            false => self.left_out += 1,
        }
        may
    }

    /// Counts lines that were left out for another reason.
    pub fn leave_out(&mut self, count: usize, now: Instant) {
        self.since.get_or_insert(now);
        self.left_out += count;
    }

    /// How many were left out, if that is to be said: when the lines have been used up, and when the minute is over.
    pub fn summary(&mut self, now: Instant) -> Option<usize> {
        let over = self.is_over(now);
        let due = self.left_out > 0 && (over || self.lines == self.most);
        let left_out = due.then(|| {
            // Said once before the minute is over.
            self.lines += 1;
            std::mem::take(&mut self.left_out)
        });
        if over {
            *self = Self::new(self.most);
        }
        left_out
    }

    /// Whether another minute begins.
    pub fn is_over(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now >= since + MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ten_thousand_entries_a_few_are_named_and_the_rest_counted() {
        let start = Instant::now();
        let mut lines = PerMinute::new(20);
        let told = |lines: &mut PerMinute, times, now| {
            (0..times).filter(|_| lines.may_be_told(now)).count()
        };
        assert_eq!(told(&mut lines, 10_000, start), 20);
        assert_eq!(lines.summary(start), Some(9_980));
        // One by one they are not told either, and counted when the minute is over.
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(told(&mut lines, 10, now), 0);
            assert_eq!(lines.summary(now), None);
        }
        assert_eq!(lines.summary(start + MINUTE), Some(590));
        assert_eq!(told(&mut lines, 3, start + MINUTE), 3);
    }
}
