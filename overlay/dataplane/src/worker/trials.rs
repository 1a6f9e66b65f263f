//! What all workers of a device share of their [trials](tweed_forward::trial) and [claims](tweed_forward::claim). Each of
//! them asks, and each takes answers: the peer decides which one an answer comes to. The lock is never taken for a packet:
//! each worker has a copy, and looks once in a turn whether there is news.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_forward::claim::Claims;
use tweed_forward::table::{Peer, PeerId, Table};
use tweed_forward::trial::echo::AddrPair;
use tweed_forward::trial::{Standing, Target, Trials};
use tweed_model::{Dual, Family};

/// The questions that peers are asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) trials: Trials,
    pub(super) claims: Claims,
}

/// What workers of one device share.
#[derive(Debug)]
pub struct SharedTrials {
    state: Mutex<Asked>,
    /// How many run.
    running: AtomicUsize,
    /// How often there was news.
    news: AtomicU32,
    started: Instant,
}

impl Default for SharedTrials {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            running: AtomicUsize::new(0),
            news: AtomicU32::new(0),
            started: Instant::now(),
        }
    }
}

impl SharedTrials {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is shared.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Asked) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let running = state.trials.running() + state.claims.running();
        self.running.store(running, Ordering::Relaxed);
        result
    }

    /// Others shall look.
    pub(super) fn tell(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one worker knows.
#[derive(Debug)]
pub(super) struct WorkerTrials {
    pub(super) shared: Arc<SharedTrials>,
    /// By the peer's place in the table.
    known: Vec<Standing>,
    /// Likewise: whether the MTU that the kernel remembers of its path is false.
    false_mtu: Vec<bool>,
    /// News that it has seen.
    news: u32,
}

impl WorkerTrials {
    pub(super) fn new(shared: Arc<SharedTrials>, table: &Table) -> Self {
        let mut trials = Self {
            shared,
            known: Vec::new(),
            false_mtu: Vec::new(),
            news: 0,
        };
        trials.follow(table);
        trials
    }

    /// Since all of this began.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Peers are those of another table.
    pub(super) fn follow(&mut self, table: &Table) {
        let peers = table.peers().iter().map(|peer| peer.endpoint.ip());
        self.shared.change(|state| {
            let targets = table.peers().iter().map(|peer| target(table, peer));
            state.trials.follow(targets);
            state
                .claims
                .follow(|peer| peers.clone().any(|is| is == peer));
        });
        self.known.resize(table.peers().len(), Standing::default());
        self.false_mtu.resize(table.peers().len(), false);
        self.look(table);
    }

    /// Copies what is shared.
    pub(super) fn look(&mut self, table: &Table) {
        self.news = self.shared.news.load(Ordering::Relaxed);
        let now = self.elapsed();
        let state = self.shared.lock();
        let all = self.known.iter_mut().zip(&mut self.false_mtu);
        for ((known, false_mtu), peer) in all.zip(table.peers()) {
            *known = state.trials.standing(target(table, peer));
            *false_mtu = state.claims.is_false(peer.endpoint.ip(), now);
        }
    }

    /// Whether there is news that was not copied yet.
    pub(super) fn has_news(&self) -> bool {
        self.news != self.shared.news.load(Ordering::Relaxed)
    }

    /// Leaves a peer alone until then.
    pub(super) fn defer(&mut self, peer: PeerId, due: Duration) {
        self.known[peer.index()].due = due;
    }

    /// How a peer gets its datagrams.
    #[inline]
    pub(super) fn of(&self, peer: PeerId) -> Standing {
        self.known[peer.index()]
    }

    /// Whether the MTU that the kernel remembers of the path to a peer is false.
    #[inline]
    pub(super) fn has_false_mtu(&self, peer: PeerId) -> bool {
        self.false_mtu[peer.index()]
    }

    /// Whether there is such a peer.
    pub(super) fn any_with_false_mtu(&self) -> bool {
        self.false_mtu.contains(&true)
    }

    /// How the peers get their datagrams.
    pub(super) fn standings(&self) -> Vec<Standing> {
        self.known.clone()
    }

    /// Whether answers may come.
    pub(super) fn are_running(&self) -> bool {
        self.shared.running.load(Ordering::Relaxed) > 0
    }

    /// When an answer is overdue.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let running = self.are_running();
        let deadlines = running.then(|| {
            let state = self.shared.lock();
            [state.trials.deadline(), state.claims.deadline()]
        });
        deadlines.into_iter().flatten().flatten().min()
    }
}

/// The peer as trials have it.
pub(super) fn target(table: &Table, peer: &Peer) -> Target {
    Target {
        addr: peer.endpoint.ip(),
        inside: echo_addrs(table.own(), peer).map(|pair| pair.to),
    }
}

/// The addresses between which a peer is asked; none where both have no family in common.
pub(super) fn echo_addrs(own: &Dual<IpNet>, peer: &Peer) -> Option<AddrPair> {
    let pair = |family: Family| {
        let (from, to): (IpAddr, IpAddr) =
            (own.get(family)?.addr(), peer.subnets.get(family)?.network());
        Some(AddrPair { from, to })
    };
    Family::BOTH.into_iter().find_map(pair)
}
