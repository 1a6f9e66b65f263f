//! How much memory the process keeps. glibc's allocator adapts itself to the largest block that was ever freed and keeps as
//! much below its top, in an arena for each thread: what a look at a large cluster takes for a moment would stay for good.

/// Blocks of this size and above are mapped by themselves, and as much may be free at the top of the heap. glibc's defaults,
/// set so that they stay.
#[cfg(target_env = "gnu")]
const THRESHOLD: libc::c_int = 128 << 10;

/// Makes the allocator keep little, and all threads share what it keeps. To be called before the first thread is started.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call with two numbers")]
        // SAFETY: it sets numbers of the allocator, under its lock.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
        }
    }
}

/// Gives the free pages of the heap back to the system. A look at a large cluster takes many times what is kept of it, and
/// glibc keeps what lies below anything that is still in use. Other libraries have nothing like it.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(
            unsafe_code,
            reason = "a call without arguments that matter, which any thread may make"
        )]
        // SAFETY: it touches nothing but the allocator's own lists, under their locks.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
