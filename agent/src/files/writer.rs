//! A thread that reads and writes files, for callers that can't wait for the disk.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

/// Work of the thread. It must not own the [`Writer`], whose end waits for it.
pub type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when this is dropped, with all jobs done.
#[derive(Debug)]
pub struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start() -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let thread = thread::Builder::new().name("files".to_owned());
        let thread = thread.spawn(move || inbox.into_iter().for_each(|job| job()));
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread.context("start the thread that writes files")?),
        })
    }

    /// Has a job done, after those that were given before.
    pub fn run(&self, job: Job) {
        // It ends with this alone.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        // A thread that has panicked has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn all_jobs_are_done_in_order_when_it_is_gone() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer::start().expect("a thread");
        for number in 0..100 {
            let done = Arc::clone(&done);
            writer.run(Box::new(move || {
                done.lock().expect("no panic").push(number)
            }));
        }
        drop(writer);
        assert_eq!(*done.lock().expect("no panic"), Vec::from_iter(0..100));
    }
}
