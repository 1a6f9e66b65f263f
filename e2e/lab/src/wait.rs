//! Waiting for something to become true, with the last reason why it was not.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Long enough for anything that happens at all on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Calls `attempt` until it succeeds; gives its value and the time that took.
///
/// # Errors
/// The last error of `attempt`, when the time is over.
pub fn timed<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        let outcome = attempt();
        let taken = start.elapsed();
        match outcome {
            Ok(value) => return Ok((value, taken)),
            Err(error) if taken >= limit => {
                return Err(error.context(format!("{what}: not within {limit:?}")));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Calls `attempt` until it succeeds, for at most [`TIMEOUT`].
///
/// # Errors
/// The last error of `attempt`, when the time is over.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    timed(what, TIMEOUT, attempt).map(|(value, _)| value)
}

/// Checks that `check` keeps succeeding for this long.
///
/// # Errors
/// Its first error.
pub fn stays(what: &str, long: Duration, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < long {
        check().with_context(|| format!("{what}: not so after {:?}", start.elapsed()))?;
        thread::sleep(POLL);
    }
    ensure!(start.elapsed() >= long, "{what}: watched too shortly");
    Ok(())
}
