//! The way to the folder: on threads of its own, and with an end to the wait. A network file system whose server is gone
//! keeps each call for as long as it likes; waiting calls must not become more and more, and the agent goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::folder::Folder;
use crate::StoreError;
use crate::contact::Contact;

/// How long the folder may take for an answer: longer than a lock may be held.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many threads may be in the folder at once.
const AT_ONCE: usize = 2;

/// Lets work into the folder. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    folder: Folder,
    turns: Arc<Semaphore>,
    limit: Duration,
    /// When the folder answered last.
    pub(super) contact: Contact,
}

impl Gate {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            folder,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            limit: TIMEOUT,
            contact: Contact::default(),
        }
    }

    /// Does some work on a thread that may block. Work that takes too long goes on without anybody who waits for it, and
    /// keeps its turn until it ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (turns, folder) = (Arc::clone(&self.turns), self.folder.clone());
        let turn = async {
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await.ok();
            let done = spawn_blocking(move || {
                let _turn = turn;
                work(&folder)
            });
            done.await.unwrap_or_else(|error| {
                let what = format!("the folder's thread ended: {error}");
                Err(StoreError::Unavailable(what))
            })
        };
        let late = |_| {
            Err(StoreError::Unavailable(format!(
                "{} has not answered for {} s; is it on a network file system whose server is gone?",
                self.folder.path().display(),
                self.limit.as_secs()
            )))
        };
        let done = timeout(self.limit, turn).await.unwrap_or_else(late);
        if done.is_ok() {
            self.contact.answer();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_folder_that_never_answers_is_unavailable_and_keeps_two_threads_at_most() {
        let gate = Gate {
            limit: Duration::from_millis(50),
            ..Gate::new(Folder::new(Path::new("/net/store")))
        };
        let inside = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(AtomicBool::new(false));
        for _ in 0..6 {
            let (inside, answers) = (Arc::clone(&inside), Arc::clone(&answers));
            let work = move |_: &Folder| {
                inside.fetch_add(1, Ordering::SeqCst);
                while !answers.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            };
            let error = gate.run(work).await.unwrap_err();
            assert!(error.to_string().contains("/net/store"), "{error}");
        }
        assert_eq!(inside.load(Ordering::SeqCst), AT_ONCE);
        // It answers again.
        answers.store(true, Ordering::SeqCst);
        let gate = Gate {
            limit: TIMEOUT,
            ..gate
        };
        assert_eq!(gate.run(|_| Ok(7)).await.unwrap(), 7);
    }
}
