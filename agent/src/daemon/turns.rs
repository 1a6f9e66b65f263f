//! Measures how long one turn keeps the main thread: a turn of its loop, or of a connection. A turn that blocks is a
//! mistake, and one that computes for long delays all others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use std::future::poll_fn;

/// Measures turns, and keeps the longest. Clones share one measurement.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The kernel's scheduling counters of this thread; none where it was built without (`CONFIG_SCHED_INFO`).
    schedule: Option<File>,
    blocked: AtomicU64,
    busy: AtomicU64,
}

/// The longest turns since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Longest {
    /// The longest turn in which the thread slept in a system call, or for a lock.
    pub blocked: Duration,
    /// The longest turn in which the thread, or the kernel for it, computed.
    pub busy: Duration,
}

impl Turns {
    /// Measures the turns of the calling thread.
    pub fn of_this_thread() -> Self {
        Self(Arc::new(Shared {
            schedule: File::open("/proc/thread-self/schedstat").ok(),
            ..Shared::default()
        }))
    }

    /// Measures each poll of a future on that thread.
    pub async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let before = self.0.moment();
            let polled = future.as_mut().poll(context);
            self.0.add(&before);
            polled
        })
        .await
    }

    /// The longest turns until now.
    pub fn longest(&self) -> Longest {
        let of = |longest: &AtomicU64| Duration::from_nanos(longest.load(Ordering::Relaxed));
        Longest {
            blocked: of(&self.0.blocked),
            busy: of(&self.0.busy),
        }
    }
}

/// The thread at one moment.
struct Moment {
    at: Instant,
    /// Time on a processor.
    ran: Duration,
    /// Time in which it was ready to run, and another thread ran.
    waited: Duration,
    /// Number of times that it went to sleep by itself.
    slept: i64,
}

impl Shared {
    fn moment(&self) -> Moment {
        Moment {
            at: Instant::now(),
            ran: processor_time(),
            waited: self.waited(),
            slept: slept(),
        }
    }

    fn add(&self, before: &Moment) {
        let now = self.moment();
        let busy = now.ran.saturating_sub(before.ran);
        longer(&self.busy, busy);
        // A thread that did not sleep was not blocked: other programs had the processor.
        if now.slept > before.slept {
            let all = now.at.duration_since(before.at);
            let waited = now.waited.saturating_sub(before.waited);
            longer(&self.blocked, all.saturating_sub(busy + waited));
        }
    }

    /// The second number of the file, in nanoseconds (`proc_pid_schedstat` in fs/proc/base.c).
    fn waited(&self) -> Duration {
        let mut text = [0; 64];
        let read = self.schedule.as_ref();
        let read = read.and_then(|file| file.read_at(&mut text, 0).ok());
        let text = text.get(..read.unwrap_or(0)).unwrap_or_default();
        let text = str::from_utf8(text).unwrap_or_default();
        let waited = text
            .split(' ')
            .nth(1)
            .and_then(|number| number.parse().ok());
        Duration::from_nanos(waited.unwrap_or(0))
    }
}

fn longer(longest: &AtomicU64, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    longest.fetch_max(nanos, Ordering::Relaxed);
}

fn slept() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[expect(
        unsafe_code,
        reason = "nix has it behind a feature that nothing else needs"
    )]
    // SAFETY: the pointer is that of a local value, which the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    match result {
        0 => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::task::yield_now;

    use super::*;

    /// Longer than the kernel delays any turn that does nothing.
    const LONG: Duration = Duration::from_millis(30);

    async fn longest<F: Future>(future: F) -> Longest {
        let turns = Turns::of_this_thread();
        turns.measure(future).await;
        turns.longest()
    }

    #[tokio::test]
    async fn a_turn_that_sleeps_is_blocked_and_one_that_computes_is_busy() {
        let slept = longest(async { thread::sleep(LONG) }).await;
        assert!(slept.blocked >= LONG, "{slept:?}");
        assert!(slept.busy < LONG, "{slept:?}");
        let computed = longest(async {
            let start = processor_time();
            while processor_time() - start < LONG {}
        })
        .await;
        assert!(computed.busy >= LONG, "{computed:?}");
        assert!(computed.blocked < LONG, "{computed:?}");
    }

    #[tokio::test]
    async fn what_is_waited_for_between_turns_counts_for_none() {
        let waited = longest(async {
            yield_now().await;
            tokio::time::sleep(LONG).await;
        })
        .await;
        assert!(waited.blocked < LONG && waited.busy < LONG, "{waited:?}");
    }

    #[test]
    fn other_programs_that_run_meanwhile_make_no_turn_blocked() {
        let others: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(|| {
                    let start = Instant::now();
                    while start.elapsed() < 20 * LONG {}
                })
            })
            .collect();
        let turns = Turns::of_this_thread();
        let start = Instant::now();
        while start.elapsed() < 10 * LONG {
            let before = turns.0.moment();
            let turn = Instant::now();
            while turn.elapsed() < LONG {}
            turns.0.add(&before);
        }
        others.into_iter().for_each(|other| drop(other.join()));
        assert!(turns.longest().blocked < LONG, "{:?}", turns.longest());
    }
}
