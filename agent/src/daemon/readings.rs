//! Readings of the host. The kernel thread makes them, between two passes; the main thread asks, goes on, and takes the
//! result later.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};
use tweed_reconcile::worker::{Read, Wake};

/// Sends readings to the kernel thread. Clones share one queue.
#[derive(Clone)]
pub struct Reader {
    kernel: Sender<Wake>,
    /// Readings that were asked for in this turn: the kernel thread is woken once for all.
    asked: Arc<Mutex<Vec<Read>>>,
    news: Arc<Notify>,
}

impl Reader {
    /// A reader that uses this kernel thread.
    pub fn new(kernel: Sender<Wake>) -> Self {
        Self {
            kernel,
            asked: Arc::default(),
            news: Arc::default(),
        }
    }

    /// Returns when a reading that can't wait for the next tick has come.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Sends the queue to the kernel thread, at the end of each turn of the main loop.
    pub fn flush(&self) {
        let all = std::mem::take(&mut *self.asked());
        if !all.is_empty() {
            let read = move || all.into_iter().for_each(|read| read());
            // A thread that has ended drops the senders, and the readings return an error.
            let _ = self.kernel.send(Wake::Read(Box::new(read)));
        }
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Read>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reading for the next [`Reader::flush`]. With `is_news`, [`Reader::news`] returns when it has come; without,
    /// it waits until it is taken.
    pub fn read<T: Send + 'static>(
        &self,
        is_news: impl FnOnce(&T) -> bool + Send + 'static,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        let (found, reading) = oneshot::channel();
        let news = Arc::clone(&self.news);
        let read = move || {
            let value = read();
            let wake = is_news(&value);
            // The receiver may be gone by now.
            if found.send(value).is_ok() && wake {
                news.notify_one();
            }
        };
        self.asked().push(Box::new(read));
        reading
    }

    /// Makes a reading, and waits for it.
    ///
    /// # Errors
    /// If the kernel thread has ended.
    pub async fn wait_for<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let reading = self.read(|_| false, read);
        self.flush();
        let found = reading.await;
        found.map_err(|_| "the kernel thread has ended".to_owned())
    }
}

/// A value that is read repeatedly, and never twice at once.
pub struct Reading<T> {
    reader: Reader,
    asked: Option<Receiver<T>>,
    /// The reading to make after the current one, which may have been made too early.
    next: Option<Box<dyn FnOnce() -> T + Send>>,
}

impl<T: Send + 'static> Reading<T> {
    /// Without a value yet.
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            asked: None,
            next: None,
        }
    }

    /// Asks for a reading, unless one is under way.
    pub fn ask(
        &mut self,
        is_news: impl FnOnce(&T) -> bool + Send + 'static,
        read: impl FnOnce() -> T + Send + 'static,
    ) {
        if self.asked.is_none() {
            self.asked = Some(self.reader.read(is_news, read));
        }
    }

    /// Asks for a reading, and for a second one if one is under way; the result is news.
    pub fn ask_anew(&mut self, read: impl FnOnce() -> T + Send + 'static) {
        match self.asked {
            Some(_) => self.next = Some(Box::new(read)),
            None => self.ask(|_| true, read),
        }
    }

    /// Whether a reading is under way.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The result of the last reading, once.
    pub fn take(&mut self) -> Option<T> {
        let found = match self.asked.as_mut()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            found => found.ok(),
        };
        self.asked = None;
        if let Some(next) = self.next.take() {
            self.ask(|_| true, next);
        }
        found
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use super::*;

    /// A thread that makes readings as the kernel thread does, in the caller's network namespace, and passes on all other
    /// messages.
    pub fn reading_thread() -> (Sender<Wake>, Receiver<Wake>) {
        let (wake, inbox) = channel();
        let (pass_on, rest) = channel();
        thread::spawn(move || {
            for wake in inbox {
                match wake {
                    Wake::Read(read) => read(),
                    other => drop(pass_on.send(other)),
                }
            }
        });
        (wake, rest)
    }

    #[test]
    fn what_is_asked_for_is_read_elsewhere_once_and_taken_once() {
        let (wake, _rest) = reading_thread();
        let reader = Reader::new(wake);
        let mut reading = Reading::new(reader.clone());
        assert_eq!(reading.take(), None);
        let here = thread::current().id();
        let (go, wait) = channel::<()>();
        reading.ask(
            |_| true,
            move || {
                let _ = wait.recv();
                thread::current().id() == here
            },
        );
        reading.ask(|_| true, || panic!("it is being read"));
        reader.flush();
        assert!(reading.is_asked());
        assert_eq!(reading.take(), None);
        go.send(()).expect("it waits");
        let found = loop {
            if let Some(found) = reading.take() {
                break found;
            }
            thread::yield_now();
        };
        assert!(!found, "it was read on another thread");
        assert!(!reading.is_asked());
        assert_eq!(reading.take(), None);
    }

    #[tokio::test]
    async fn what_may_have_been_read_too_early_is_read_once_more_and_told() {
        let (wake, _rest) = reading_thread();
        let reader = Reader::new(wake);
        let mut reading = Reading::new(reader.clone());
        reading.ask(|_| false, || 1);
        reading.ask_anew(|| 2);
        reading.ask_anew(|| 3);
        reader.flush();
        let first = loop {
            if let Some(found) = reading.take() {
                break found;
            }
            thread::yield_now();
        };
        reader.flush();
        reader.news().await;
        assert_eq!((first, reading.take()), (1, Some(3)));
    }

    #[tokio::test]
    async fn a_kernel_thread_that_has_ended_reads_nothing_and_keeps_nobody_waiting() {
        let reader = Reader::new(channel().0);
        assert!(reader.wait_for(|| ()).await.is_err());
    }
}
