//! What a worker is told, and what it tells: the only state that it shares with other threads. It looks here when the
//! bell has rung, and never for the sake of a packet.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tweed_forward::counters::Counters;
use tweed_forward::offloads::Offloads;
use tweed_forward::peers::PeerCounts;
use tweed_forward::table::Table;
use tweed_forward::trace::{Filter, Traced};

/// How long a worker may take to tell what it has counted. A turn may have to wait for 20 ms.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a worker has counted, and what it works with.
#[derive(Clone, Debug)]
pub struct Report {
    /// In all.
    pub counters: Counters,
    /// By peer, for `table`.
    pub peers: PeerCounts,
    /// What it forwards by, with what it has learned of the paths.
    pub table: Arc<Table>,
    /// By peer, for `table`: whether it gets single datagrams, since several at once don't reach it.
    pub singly: Vec<bool>,
    /// What the kernel does for it.
    pub offloads: Offloads,
    /// Whether it takes datagrams one by one since they came damaged where the kernel joined them.
    pub joined_damaged: bool,
}

/// A filter, and where to tell of what it takes.
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
    /// What else to tell of.
    pub(super) tracing: Vec<Tracing>,
    pub(super) asked: bool,
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    bell: EventFd,
    mail: Mutex<Mail>,
    /// The last report, and how many there have been.
    told: Mutex<(u64, Report)>,
    news: Condvar,
}

impl Mailbox {
    pub(super) fn new(report: Report) -> nix::Result<Self> {
        Ok(Self {
            bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            mail: Mutex::default(),
            told: Mutex::new((0, report)),
            news: Condvar::new(),
        })
    }

    /// What rings when there is mail.
    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    pub(super) fn post(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut lock(&self.mail));
        // A full counter has rung already.
        let _ = self.bell.write(1);
    }

    pub(super) fn take(&self) -> Mail {
        let _ = self.bell.read();
        std::mem::take(&mut lock(&self.mail))
    }

    /// Tells, on the worker's side.
    pub(super) fn tell(&self, report: Report) {
        let mut told = lock(&self.told);
        *told = (told.0 + 1, report);
        self.news.notify_all();
    }

    /// Asks for a report. Says how many there had been before.
    pub(super) fn ask(&self) -> u64 {
        let before = lock(&self.told).0;
        self.post(|mail| mail.asked = true);
        before
    }

    /// Waits for a report that was asked for, or takes the last one where none comes.
    pub(super) fn answer(&self, before: u64) -> Report {
        let told = lock(&self.told);
        let waited = self
            .news
            .wait_timeout_while(told, PATIENCE, |told| told.0 == before);
        let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
        told.1.clone()
    }

    /// The last report.
    pub(super) fn last(&self) -> Report {
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

    /// Whether anybody listens still.
    pub(super) fn is_heard(&self) -> bool {
        self.listener.strong_count() > 0
    }

    /// Tells of a decision that the filter takes.
    pub(super) fn note(&mut self, traced: &Traced) {
        if !self.filter.takes(traced.source, traced.destination) {
            return;
        }
        self.seen += 1;
        if self.seen.is_multiple_of(self.filter.every.max(1)) {
            // Who doesn't keep up misses some.
            let _ = self.tell.try_send(*traced);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
