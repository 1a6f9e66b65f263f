//! How busy the whole machine is. By its idle time: what processes and interrupts are booked for is sampled at the
//! timer's ticks, and a paced sender that sleeps in step with the ticks is hardly seen, or seen all the time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Ticks a second of `/proc/stat`, for every Linux that is not Alpha.
const TICKS: f64 = 100.0;

/// Idle time up to an instant.
#[derive(Debug)]
pub struct Watch {
    idle: f64,
    at: Instant,
    processors: f64,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read.
    pub fn start() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Ok(Self {
            idle: idle(&text)?,
            at: Instant::now(),
            processors: processors(&text),
        })
    }

    /// Seconds of processors that were used since.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read.
    pub fn used(&self) -> Result<f64> {
        let now = Self::start()?;
        let passed = now.at.duration_since(self.at).as_secs_f64();
        Ok((passed * self.processors - (now.idle - self.idle)).max(0.0))
    }

    /// Processors that are busy when nothing is measured.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read.
    pub fn background(span: Duration) -> Result<f64> {
        let watch = Self::start()?;
        std::thread::sleep(span);
        Ok(watch.used()? / span.as_secs_f64().max(1.0))
    }
}

/// Seconds that all processors together have been idle.
fn idle(stat: &str) -> Result<f64> {
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let mut fields = line.split_whitespace().skip(4);
    let mut field = || -> Result<f64> { Ok(fields.next().context("no idle time")?.parse()?) };
    // Waiting for a disk is idle too.
    Ok((field()? + field()?) / TICKS)
}

fn processors(stat: &str) -> f64 {
    let lines = stat.lines().filter(|line| line.starts_with("cpu"));
    lines.count().saturating_sub(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_read_with_the_time_that_waits_for_disks() {
        let stat = "cpu  100 0 50 1000 20 0 5 0 0 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n";
        assert_eq!(idle(stat).unwrap(), 10.2);
        assert_eq!(processors(stat), 2.0);
        assert!(idle("cpu  1 2 3").is_err());
    }
}
