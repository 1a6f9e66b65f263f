//! Readings of the host. Another thread makes them: the kernel thread between two passes, or the thread that has the
//! files. The main thread asks, goes on, and takes the result later.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};
use tweed_reconcile::worker::{Read, Wake};

/// Sends readings to a thread. Clones share one queue.
#[derive(Clone)]
pub struct Reader {
    send: Arc<dyn Fn(Read) + Send + Sync>,
    /// Readings that were asked for in this turn: the thread is woken once for all.
    asked: Arc<Mutex<Vec<Read>>>,
    news: Arc<Notify>,
}

impl Reader {
    /// A reader by the kernel thread behind this channel.
    pub fn by_kernel(kernel: Sender<Wake>) -> Self {
        // A thread that has ended drops the senders, and the readings return an error.
        Self::telling(Arc::default(), move |read| {
            drop(kernel.send(Wake::Read(read)));
        })
    }

    /// A reader by another thread, whose news are this one's too.
    pub fn beside(&self, send: impl Fn(Read) + Send + Sync + 'static) -> Self {
        Self::telling(Arc::clone(&self.news), send)
    }

    fn telling(news: Arc<Notify>, send: impl Fn(Read) + Send + Sync + 'static) -> Self {
        Self {
            send: Arc::new(send),
            asked: Arc::default(),
            news,
        }
    }

    /// Returns when readings have come.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Sends the queue to the thread, at the end of each turn of the main loop.
    pub fn flush(&self) {
        let all = std::mem::take(&mut *self.asked());
        if !all.is_empty() {
            let news = Arc::clone(&self.news);
            (self.send)(Box::new(move || {
                all.into_iter().for_each(|read| read());
                news.notify_one();
            }));
        }
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Read>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reading for the next [`Reader::flush`].
    pub fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        let (found, reading) = oneshot::channel();
        // The receiver may be gone by then.
        let read = move || drop(found.send(read()));
        self.asked().push(Box::new(read));
        reading
    }

    /// Makes a reading, and waits for it.
    ///
    /// # Errors
    /// If the thread has ended.
    pub async fn wait_for<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let reading = self.read(read);
        self.flush();
        let found = reading.await;
        found.map_err(|_| "the thread that reads has ended".to_owned())
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
    pub fn ask(&mut self, read: impl FnOnce() -> T + Send + 'static) {
        if self.asked.is_none() {
            self.asked = Some(self.reader.read(read));
        }
    }

    /// Asks for a reading, and for a second one if one is under way.
    pub fn ask_anew(&mut self, read: impl FnOnce() -> T + Send + 'static) {
        match self.asked {
            Some(_) => self.next = Some(Box::new(read)),
            None => self.ask(read),
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
            self.ask(next);
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
        let reader = Reader::by_kernel(wake);
        let mut reading = Reading::new(reader.clone());
        assert_eq!(reading.take(), None);
        let here = thread::current().id();
        let (go, wait) = channel::<()>();
        reading.ask(move || {
            let _ = wait.recv();
            thread::current().id() == here
        });
        reading.ask(|| panic!("it is being read"));
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
        let reader = Reader::by_kernel(wake);
        let mut reading = Reading::new(reader.clone());
        reading.ask(|| 1);
        reading.ask_anew(|| 2);
        reading.ask_anew(|| 3);
        reader.flush();
        reader.news().await;
        let first = reading.take();
        reader.flush();
        reader.news().await;
        assert_eq!((first, reading.take()), (Some(1), Some(3)));
    }

    #[tokio::test]
    async fn a_thread_that_has_ended_reads_nothing_and_keeps_nobody_waiting() {
        let reader = Reader::by_kernel(channel().0);
        assert!(reader.wait_for(|| ()).await.is_err());
    }
}
