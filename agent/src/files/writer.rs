//! A thread that writes files, for callers that can't wait for the disk.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

/// The thread. It ends when this is dropped, with all that it was woken for done.
#[derive(Debug)]
pub struct Writer {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which writes each time it is woken, or once for several times.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(write: impl Fn() + Send + 'static) -> Result<Self> {
        let (wake, woken) = channel();
        let thread = thread::Builder::new().name("files".to_owned());
        let thread = thread.spawn(move || {
            while woken.recv().is_ok() {
                while woken.try_recv().is_ok() {}
                write();
            }
        });
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread.context("start the thread that writes files")?),
        })
    }

    /// Wakes the thread to write.
    pub fn wake(&self) {
        // It ends with this alone.
        let _ = self.wake.as_ref().map(|wake| wake.send(()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wake = None;
        // A thread that has panicked has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_it_was_woken_for_is_done_when_it_is_gone() {
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let writer = Writer::start(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let writer = writer.expect("a thread");
        assert_eq!(written.load(Ordering::Relaxed), 0);
        for _ in 0..100 {
            writer.wake();
        }
        drop(writer);
        let times = written.load(Ordering::Relaxed);
        assert!((1..=100).contains(&times), "{times}");
    }
}
