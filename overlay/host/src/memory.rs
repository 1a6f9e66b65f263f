//! Memory that is free again.

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
