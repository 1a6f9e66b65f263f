//! The [trials](tweed_forward::trial) and [claims](tweed_forward::claim) of all workers of a device. Any of them asks, and takes the answer: which one it
//! comes to depends on the peer. They share what they know behind a lock, which none takes for a packet's sake: each has
//! a copy, and looks once in a turn whether there is news.

use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_forward::claim::Claims;
use tweed_forward::packet::Packet;
use tweed_forward::table::{Peer, PeerId, Table};
use tweed_forward::trial::echo::{self, Ends, Form, ROOM};
use tweed_forward::trial::{Ask, News, Next, Standing, Target, Trials};
use tweed_host::random;
use tweed_model::{Dual, Family};

use super::path::Path;
use crate::socket::{Sent, Socket};

/// How long a worker leaves a peer alone that is being tried already, or can't be.
const PAUSE: Duration = Duration::from_secs(1);

/// What is being found out by asking peers.
#[derive(Debug, Default)]
pub(super) struct State {
    trials: Trials,
    pub(super) claims: Claims,
}

/// What workers of one device share.
#[derive(Debug)]
pub struct SharedTrials {
    state: Mutex<State>,
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is shared.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
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
pub(super) struct Tries {
    pub(super) shared: Arc<SharedTrials>,
    /// By the peer's place in the table.
    known: Vec<Standing>,
    /// The same, of peers about whose path the kernel remembers what is false.
    misled: Vec<bool>,
    /// News that it has seen.
    news: u32,
}

impl Tries {
    pub(super) fn new(shared: Arc<SharedTrials>, table: &Table) -> Self {
        let mut tries = Self {
            shared,
            known: Vec::new(),
            misled: Vec::new(),
            news: 0,
        };
        tries.follow(table);
        tries
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
        self.misled.resize(table.peers().len(), false);
        self.look(table);
    }

    /// Takes over what is known.
    fn look(&mut self, table: &Table) {
        self.news = self.shared.news.load(Ordering::Relaxed);
        let now = self.elapsed();
        let state = self.shared.lock();
        let all = self.known.iter_mut().zip(&mut self.misled);
        for ((known, misled), peer) in all.zip(table.peers()) {
            *known = state.trials.standing(target(table, peer));
            *misled = state.claims.is_false(peer.endpoint.ip(), now);
        }
    }

    /// How a peer gets its datagrams.
    #[inline]
    pub(super) fn of(&self, peer: PeerId) -> Standing {
        self.known[peer.index()]
    }

    /// Whether the kernel remembers what is false of the path to a peer.
    #[inline]
    pub(super) fn is_misled(&self, peer: PeerId) -> bool {
        self.misled[peer.index()]
    }

    /// Whether it does of any.
    pub(super) fn any_misled(&self) -> bool {
        self.misled.contains(&true)
    }

    /// Which peers get single datagrams.
    pub(super) fn singly(&self) -> impl Iterator<Item = bool> {
        self.known.iter().map(|known| known.singly)
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

impl Path {
    /// Tries whether several datagrams at once reach a peer.
    #[cold]
    pub(super) fn try_together(&mut self, peer: PeerId) {
        let now = self.now;
        self.tries.known[peer.index()].due = now + PAUSE;
        let peer = self.table.peer(peer);
        let socket = self.sockets.get(Family::of(&peer.endpoint.ip()));
        let sends_several = socket.is_some_and(Socket::sends_segments);
        let target = target(&self.table, peer);
        if !sends_several || target.inside.is_none() {
            return;
        }
        let shared = &self.tries.shared;
        let ask = shared.change(|state| state.trials.begin(target, random::bits(), now));
        if let Some(ask) = ask {
            self.ask(&ask);
        }
    }

    /// Goes on where a packet answers a question of ours. Says whether it did.
    #[cold]
    pub(super) fn takes_answer(&mut self, packet: &Packet, bytes: &[u8]) -> bool {
        let Some(mark) = echo::answered(packet, bytes) else {
            return false;
        };
        let now = self.tries.elapsed();
        let next = self.tries.shared.change(|state| {
            let is_ours = state.trials.knows(mark);
            is_ours.then(|| state.trials.answered(mark, now))
        });
        let Some(next) = next else {
            return self.refutes(mark);
        };
        if let Some(next) = next {
            self.go_on(next);
        }
        true
    }

    /// Asks again where answers have not come, and takes over what others have found.
    pub(super) fn look_after_trials(&mut self) {
        while self.tries.are_running()
            && let Some(next) = (self.tries.shared).change(|state| state.trials.overdue(self.now))
        {
            self.go_on(next);
        }
        self.look_after_claims();
        if self.tries.news != self.tries.shared.news.load(Ordering::Relaxed) {
            self.look_at_peers();
        }
    }

    /// Takes over what is known.
    pub(super) fn look_at_peers(&mut self) {
        self.tries.look(&self.table);
        self.take_claims();
    }

    fn go_on(&mut self, next: Next) {
        match next {
            Next::Ask(ask) => self.ask(&ask),
            Next::Over(news) => {
                self.tries.shared.tell();
                tell(&news);
            }
        }
    }

    /// Asks. What can't be asked is given up.
    fn ask(&mut self, ask: &Ask) {
        let table = Arc::clone(&self.table);
        let mut peers = table.peers().iter();
        let peer = peers.find(|peer| target(&table, peer) == ask.peer);
        let asked = peer.and_then(|peer| self.send_question(peer, ask));
        if asked.is_none() {
            let now = self.now;
            let shared = &self.tries.shared;
            shared.change(|state| state.trials.give_up(ask.mark, now));
        }
    }

    fn send_question(&mut self, peer: &Peer, ask: &Ask) -> Option<()> {
        let mut room = [0; ROOM];
        let ends = ends(self.table.own(), peer)?;
        let packets = echo::write(ends, ask.mark, ask.form, peer.mtu.into(), &mut room)?;
        let socket = self.sockets.get_mut(Family::of(&ask.peer.addr))?;
        let parts = [IoSlice::new(&room[..packets.len])];
        let sent = socket.send(peer.endpoint, &parts, packets.size);
        let Ok(sent) = sent else {
            return Some(()); // It is asked again, like what is lost later.
        };
        let whole = sent == Sent::Whole;
        let (count, bytes) = (packets.count() as u64, packets.len as u64);
        let calls = if whole { 1 } else { count };
        self.counters.sent.count(count, bytes, calls);
        if let Some(peer) = self.peers.at(&self.table, ask.peer.addr) {
            peer.sent.count(count, bytes, calls);
        }
        (whole || ask.form == Form::Alone).then_some(())
    }
}

/// How a peer is known to the trials.
fn target(table: &Table, peer: &Peer) -> Target {
    Target {
        addr: peer.endpoint.ip(),
        inside: ends(table.own(), peer).map(|ends| ends.to),
    }
}

/// Between which addresses a peer is asked.
pub(super) fn ends(own: &Dual<IpNet>, peer: &Peer) -> Option<Ends> {
    let ends = |family: Family| {
        let (from, to): (IpAddr, IpAddr) =
            (own.get(family)?.addr(), peer.subnets.get(family)?.network());
        Some(Ends { from, to })
    };
    Family::BOTH.into_iter().find_map(ends)
}

fn tell(news: &News) {
    let News {
        peer,
        singly,
        changed,
    } = news;
    match (changed, singly) {
        (true, true) => tracing::warn!(
            %peer,
            "datagrams that are sent several at once don't reach this peer, and single ones do: it gets single ones; \
             update the kernel, or turn off tx-udp-segmentation of the uplink"
        ),
        (true, false) => {
            tracing::info!(%peer, "datagrams that are sent several at once reach this peer again")
        }
        (false, _) => {}
    }
}
