//! Log lines wait in a queue, and a thread writes them: a disk or a journal that doesn't keep up holds no other thread.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Lines that may wait. What comes beyond is left out and counted.
const LINES: usize = 4096;
/// How long the end of the process waits for lines that are not written yet.
const END: Duration = Duration::from_secs(1);

/// Where lines go; while there is none, they are written at once by the thread that has them.
static QUEUE: RwLock<Option<SyncSender<Vec<u8>>>> = RwLock::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);
static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);

/// From [`start`] on lines are queued; when this is dropped, what waits is written, and what comes then at once.
#[derive(Debug)]
pub struct LogThread(());

/// Starts the thread that writes. It has the rights that the caller has then.
///
/// # Errors
/// If there can be no thread.
pub fn start() -> Result<LogThread> {
    let (queue, lines) = sync_channel(LINES);
    let thread = thread::Builder::new().name("log".to_owned());
    let started = thread.spawn(move || write_all(&lines, &mut io::stderr()));
    started.context("start the thread that writes the log")?;
    *QUEUE.write().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    Ok(LogThread(()))
}

impl Drop for LogThread {
    fn drop(&mut self) {
        *QUEUE.write().unwrap_or_else(PoisonError::into_inner) = None;
        drain();
    }
}

/// Waits until all lines are written, a second at most.
pub fn drain() {
    let end = Instant::now() + END;
    while WAITING.load(Ordering::Acquire) > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Queues a line, or writes it where there is no queue.
pub(super) fn put(line: &[u8]) -> io::Result<()> {
    let queue = QUEUE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(queue) = queue.as_ref() else {
        return io::stderr().lock().write_all(line);
    };
    WAITING.fetch_add(1, Ordering::AcqRel);
    if queue.try_send(line.to_vec()).is_err() {
        WAITING.fetch_sub(1, Ordering::AcqRel);
        LEFT_OUT.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}

fn write_all(lines: &Receiver<Vec<u8>>, to: &mut impl Write) {
    for line in lines {
        // A log that can't be written can't be told of either.
        let _ = to.write_all(&line);
        WAITING.fetch_sub(1, Ordering::AcqRel);
        let left_out = LEFT_OUT.swap(0, Ordering::AcqRel);
        if left_out > 0 {
            // The next line of all, in the log's own form; it finds a place, since one has just become free.
            tracing::warn!(
                lines = left_out,
                "log lines were left out: they came faster than they could be written"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes nothing until it is let.
    struct Stuck(Receiver<()>, Vec<u8>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            self.1.extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_takes_nothing_holds_nobody_and_what_is_left_out_is_counted() {
        let (queue, lines) = sync_channel(LINES);
        *QUEUE.write().expect("no panic") = Some(queue);
        let (let_it, stuck) = sync_channel(0);
        let writer = thread::spawn(move || {
            let mut disk = Stuck(stuck, Vec::new());
            write_all(&lines, &mut disk);
            disk.1
        });
        let start = Instant::now();
        for number in 0..LINES + 100 {
            put(format!("line {number}\n").as_bytes()).expect("put");
        }
        assert!(start.elapsed() < Duration::from_secs(1), "not held");
        assert!(LEFT_OUT.load(Ordering::Acquire) >= 99, "counted");
        drop(let_it);
        drop(LogThread(()));
        assert_eq!(WAITING.load(Ordering::Acquire), 0, "all written");
        let written = String::from_utf8(writer.join().expect("ends")).expect("text");
        assert!(written.starts_with("line 0\nline 1\n"));
        assert!(written.lines().count() >= LINES);
    }
}
