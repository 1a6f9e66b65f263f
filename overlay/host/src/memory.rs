//! How much memory the process keeps. glibc's allocator adapts itself to the largest block that was ever freed and keeps as
//! much below its top, in an arena for each thread: what a look at a large cluster takes for a moment would stay for good.

#[cfg(target_env = "gnu")]
mod code;

#[cfg(target_env = "gnu")]
use std::sync::{Mutex, OnceLock, PoisonError};
#[cfg(target_env = "gnu")]
use std::time::Duration;
use std::time::Instant;

#[cfg(target_env = "gnu")]
const MINUTE: Duration = Duration::from_secs(60);

/// Blocks of this size and above are mapped by themselves, and as much may be free at the top of the heap. glibc's defaults,
/// set so that they stay.
#[cfg(target_env = "gnu")]
const THRESHOLD: libc::c_int = 128 << 10;

/// The main thread has one, so that it seldom waits for another thread that allocates; the others share the second.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// The last times at which the heap was given back, oldest first.
#[cfg(target_env = "gnu")]
static LAST: Mutex<[Option<Instant>; 3]> = Mutex::new([None; 3]);

/// When it may be given back, which is when the oldest of the last times is a minute ago. If that is now, this is the latest.
#[cfg(target_env = "gnu")]
fn due(now: Instant) -> Instant {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last[0].map_or(now, |then| then + MINUTE);
    if due <= now {
        last.rotate_left(1);
        last[2] = Some(now);
    }
    due
}

/// Makes the allocator keep little, and all threads share what it keeps. To be called before the first thread is started.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call with two numbers")]
        // SAFETY: it sets numbers of the allocator, under its lock.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
        }
    }
}

/// Gives the free pages of the heap back to the system. A look at a large cluster takes many times what is kept of it, and
/// glibc keeps what lies below anything that is still in use. Other libraries have nothing like it. Three times a minute
/// at most: all threads that allocate meanwhile wait for it. Where that forbids it now, this says when it is due. Once the
/// start is over, the program's own pages go too.
pub fn give_back() -> Option<Instant> {
    #[cfg(target_env = "gnu")]
    {
        let now = Instant::now();
        let due = due(now);
        if due > now {
            return Some(due);
        }
        #[expect(
            unsafe_code,
            reason = "a call without arguments that matter, which any thread may make"
        )]
        // SAFETY: it touches nothing but the allocator's own lists, under their locks.
        unsafe {
            libc::malloc_trim(0);
        }
        if start_is_over(now) {
            code::let_go();
        }
    }
    None
}

/// Whether what the start needs of the program is done with: some time after the first call.
#[cfg(target_env = "gnu")]
fn start_is_over(now: Instant) -> bool {
    const START: Duration = Duration::from_secs(5);
    static FIRST: OnceLock<Instant> = OnceLock::new();
    now.duration_since(*FIRST.get_or_init(|| now)) >= START
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_given_back_three_times_a_minute_at_most() {
        let start = Instant::now();
        let at = |seconds| (due(start + Duration::from_secs(seconds)) - start).as_secs();
        assert_eq!([at(0), at(1), at(2)], [0, 1, 2], "at once");
        assert_eq!([at(3), at(59)], [60, 60], "a minute after the first");
        assert_eq!([at(60), at(60), at(61), at(63)], [60, 61, 61, 62]);
    }
}
