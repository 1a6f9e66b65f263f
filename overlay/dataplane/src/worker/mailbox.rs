//! Commands to a worker, and its reports: the only state that it shares with other threads. An eventfd wakes it when there
//! is mail; a packet never costs a look.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tweed_forward::counters::Counters;
use tweed_forward::offloads::Offloads;
use tweed_forward::peers::PeerCounts;
use tweed_forward::table::Table;
use tweed_forward::trace::{Filter, Traced};
use tweed_forward::trial::Standing;

/// How long to wait for a worker's report. A turn may take 20 ms.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// What a worker has counted, and what it works with.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// In all.
    pub counters: Counters,
    /// By peer, for `table`.
    pub peers: PeerCounts,
    /// What it forwards by, with what it has learned of the paths.
    pub table: Arc<Table>,
    /// By peer, for `table`: whether it gets single datagrams.
    pub standings: Vec<Standing>,
    /// What the kernel does for it.
    pub offloads: Offloads,
    /// Whether it takes datagrams one by one since they came damaged where the kernel joined them.
    pub joined_damaged: bool,
}

/// A filter, and the channel for the decisions that match it.
#[derive(Debug)]
pub(super) struct Tracing {
    filter: Filter,
    /// How many packets it has taken.
    seen: u64,
    tell: SyncSender<Traced>,
    listener: Weak<()>,
}

/// What is in the mailbox.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) table: Option<Arc<Table>>,
    /// Traces that were begun.
    pub(super) tracing: Vec<Tracing>,
    pub(super) asked: bool,
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    event_fd: EventFd,
    mail: Mutex<Mail>,
    /// The last report, and how many there have been.
    told: Mutex<(u64, WorkerReport)>,
    news: Condvar,
}

impl Mailbox {
    pub(super) fn new(report: WorkerReport) -> nix::Result<Self> {
        Ok(Self {
            event_fd: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            mail: Mutex::default(),
            told: Mutex::new((0, report)),
            news: Condvar::new(),
        })
    }

    /// Readable when there is mail.
    pub(super) fn event_fd(&self) -> &EventFd {
        &self.event_fd
    }

    pub(super) fn post(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut lock(&self.mail));
        // A full counter is readable already.
        let _ = self.event_fd.write(1);
    }

    pub(super) fn take(&self) -> Mail {
        let _ = self.event_fd.read();
        std::mem::take(&mut lock(&self.mail))
    }

    /// Files a report, on the worker's side.
    pub(super) fn file(&self, report: WorkerReport) {
        let mut told = lock(&self.told);
        *told = (told.0 + 1, report);
        self.news.notify_all();
    }

    /// Asks for a report. Returns how many there had been before.
    pub(super) fn ask(&self) -> u64 {
        let before = lock(&self.told).0;
        self.post(|mail| mail.asked = true);
        before
    }

    /// Waits for a report that was asked for, or takes the last one where none comes.
    pub(super) fn answer(&self, before: u64) -> WorkerReport {
        let told = lock(&self.told);
        let waited = self
            .news
            .wait_timeout_while(told, ANSWER_TIME, |told| told.0 == before);
        let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
        told.1.clone()
    }

    /// The last report.
    pub(super) fn last(&self) -> WorkerReport {
        lock(&self.told).1.clone()
    }
}

impl Tracing {
    pub(super) fn new(filter: Filter, tell: SyncSender<Traced>, listener: Weak<()>) -> Self {
        Self {
            filter,
            seen: 0,
            tell,
            listener,
        }
    }

    /// Whether the receiver still exists.
    pub(super) fn has_listener(&self) -> bool {
        self.listener.strong_count() > 0
    }

    /// Sends a decision that the filter matches.
    pub(super) fn note(&mut self, traced: &Traced) {
        if !self.filter.matches(traced.source, traced.destination) {
            return;
        }
        self.seen += 1;
        if self.seen.is_multiple_of(self.filter.every.max(1)) {
            // A full channel loses it: the worker does not wait.
            let _ = self.tell.try_send(*traced);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
