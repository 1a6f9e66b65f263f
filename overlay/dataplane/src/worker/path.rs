//! What both directions use, and what happens to it beside packets: mail, complaints of the underlay, time.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tweed_forward::counters::Counters;
use tweed_forward::limit::Limits;
use tweed_forward::offloads::Offloads;
use tweed_forward::options::Options;
use tweed_forward::packet::Packet;
use tweed_forward::path_mtu::{PathMtus, is_too_narrow};
use tweed_forward::peers::PeerCounts;
use tweed_forward::table::Table;
use tweed_forward::trace::{Traced, Verdict, Way};
use tweed_model::{Dual, Family};

use super::Setup;
use super::mailbox::{Mail, Report, Tracing};
use super::tries::Tries;
use crate::socket::{Complaint, Socket};
use crate::tun::Tun;

/// How often a worker that has something to do looks after what time brings.
const CHORES: Duration = Duration::from_secs(1);
/// Complaints that are read at once.
const COMPLAINTS: usize = 64;

pub(super) struct Path {
    pub(super) tun: Tun,
    pub(super) sockets: Dual<Socket>,
    /// What to forward by, with what was learned.
    pub(super) table: Arc<Table>,
    /// The same as it was posted.
    posted: Arc<Table>,
    learned: PathMtus,
    pub(super) options: Options,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) peers: PeerCounts,
    tracing: Vec<Tracing>,
    /// A peer that a message was too big for.
    pub(super) suspect: Option<SocketAddr>,
    /// What the device takes of what it gives.
    pub(super) joins: [bool; 2],
    /// Which peers get single datagrams, and the trials that tell.
    pub(super) tries: Tries,
    /// Time since the start of the first worker, as of the last wake-up.
    pub(super) now: Duration,
    chores: Duration,
    keep_alive: KeepAlive,
}

/// When peers hear from us though there is nothing to say.
#[derive(Default)]
struct KeepAlive {
    next: Duration,
    /// What had been sent to each peer by the last time.
    sent: Vec<u64>,
}

impl Path {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup {
            tun,
            sockets,
            table,
            options,
            trials,
        } = setup;
        let tries = Tries::new(trials, &table);
        Self {
            joins: [tun.has_tcp_offload(), tun.has_udp_offload()],
            tun,
            sockets,
            peers: PeerCounts::new(&table),
            posted: Arc::clone(&table),
            table,
            learned: PathMtus::default(),
            options,
            limits: Limits::default(),
            counters: Counters::default(),
            tracing: Vec::new(),
            suspect: None,
            now: tries.elapsed(),
            tries,
            chores: Duration::ZERO,
            keep_alive: KeepAlive::default(),
        }
    }

    pub(super) fn report(&self) -> Report {
        let mut offloads = Offloads {
            tcp: self.joins[0],
            udp: self.joins[1],
            ..Offloads::ALL
        };
        let mut joined_damaged = false;
        for socket in self.sockets.values() {
            offloads.send &= socket.sends_segments();
            offloads.receive &= socket.receives_segments();
            joined_damaged |= socket.joined_damaged();
        }
        Report {
            counters: self.counters,
            peers: self.peers.clone(),
            table: Arc::clone(&self.table),
            singly: self.tries.singly().collect(),
            offloads,
            joined_damaged,
        }
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self) -> Duration {
        self.now = self.tries.elapsed();
        self.now
    }

    /// Does what the mail says.
    pub(super) fn obey(&mut self, mail: Mail) {
        if let Some(table) = mail.table {
            self.peers = self.peers.follow(&self.table, &table);
            self.keep_alive.sent.clear();
            self.tries.follow(&table);
            self.posted = table;
            self.take_posted();
        }
        self.tracing.extend(mail.tracing);
    }

    /// The posted table, with what was learned.
    fn take_posted(&mut self) {
        self.table = Arc::clone(&self.posted);
        if !self.learned.is_empty() {
            self.learned.tell(Arc::make_mut(&mut self.table));
        }
    }

    /// A turn begins.
    pub(super) fn be_patient(&mut self) {
        for socket in [&mut self.sockets.v4, &mut self.sockets.v6] {
            socket.iter_mut().for_each(Socket::be_patient);
        }
    }

    /// Datagrams of one sender came joined. Strangers can't say how.
    #[inline]
    pub(super) fn came_joined(&mut self, from: SocketAddr, damaged: bool) {
        if damaged && !self.table.knows_sender(from.ip().to_canonical()) {
            return;
        }
        let socket = match from {
            SocketAddr::V4(_) => self.sockets.v4.as_mut(),
            SocketAddr::V6(_) => self.sockets.v6.as_mut(),
        };
        if let Some(socket) = socket {
            socket.came_joined(damaged, self.now);
        }
    }

    /// Whether a turn has waited for the underlay as long as it may.
    pub(super) fn has_waited(&self) -> bool {
        self.sockets.values().any(Socket::has_no_patience)
    }

    /// Learns that datagrams of more than so many bytes do not get to an address.
    pub(super) fn learn(&mut self, addr: IpAddr, mtu: u32, since: Duration) {
        if (self.learned).learn(&mut self.table, addr, mtu, since) {
            tracing::info!(peer = %addr, mtu, "the path to a peer is narrower than the uplink");
        }
    }

    /// Asks how narrow the path is that a message was too big for.
    pub(super) fn probe(&mut self) {
        let Some(suspect) = self.suspect.take() else {
            return;
        };
        let family = Family::of(&suspect.ip());
        let socket = self.sockets.get(family);
        let Some(Ok(mtu)) = socket.map(|socket| socket.path_mtu(suspect)) else {
            return;
        };
        if !self.claim(suspect.ip(), mtu)
            && !is_too_narrow(mtu)
            && let Some(socket) = self.sockets.get_mut(family)
        {
            socket.refused_in_vain();
        }
    }

    /// Hears what the underlay says of datagrams.
    pub(super) fn hear(&mut self) {
        for _ in 0..COMPLAINTS {
            let Some((to, complaint)) = self.sockets.values().find_map(Socket::complaint) else {
                return;
            };
            self.counters.underlay_errors += 1;
            let addr = to.ip().to_canonical();
            match complaint {
                Complaint::Narrow(mtu) => {
                    self.claim(addr, mtu);
                }
                Complaint::Refused => {
                    if let Some(peer) = self.peers.at(&self.table, addr) {
                        peer.refused += 1;
                    }
                }
            }
        }
    }

    /// How long to sleep at most; forever if nothing is planned.
    pub(super) fn sleep(&self) -> Option<Duration> {
        let greeting = self.options.keep_alive.map(|_| self.keep_alive.next);
        let planned = [greeting, self.tries.deadline()];
        let next = planned.into_iter().flatten().min()?;
        Some(next.saturating_sub(self.now))
    }

    /// Does what is due.
    pub(super) fn do_chores(&mut self) {
        if self.now >= self.chores {
            self.chores = self.now + CHORES;
            self.tracing.retain(Tracing::is_heard);
            if self.learned.forget(self.now) {
                self.take_posted();
            }
            if self.tries.any_misled() {
                self.look_at_peers(); // A time may be over.
            }
            for socket in [&mut self.sockets.v4, &mut self.sockets.v6] {
                socket
                    .iter_mut()
                    .for_each(|socket| socket.join_again(self.now));
            }
        }
        self.look_after_trials();
        let interval = self.options.keep_alive;
        if let Some(interval) = interval.filter(|_| self.now >= self.keep_alive.next) {
            self.keep_alive.next = self.now + interval;
            self.greet();
        }
    }

    /// Sends an empty datagram to each peer that was sent nothing since the last time.
    fn greet(&mut self) {
        let table = Arc::clone(&self.table);
        let sent: Vec<u64> = self
            .peers
            .all()
            .iter()
            .map(|peer| peer.sent.packets)
            .collect();
        for (place, peer) in table.peers().iter().enumerate() {
            let silent = self
                .keep_alive
                .sent
                .get(place)
                .is_none_or(|before| *before == sent[place]);
            let socket = match peer.endpoint {
                SocketAddr::V4(_) => self.sockets.v4.as_mut(),
                SocketAddr::V6(_) => self.sockets.v6.as_mut(),
            };
            if let Some(socket) = socket.filter(|_| silent)
                && socket.send(peer.endpoint, &[IoSlice::new(&[])], 0).is_ok()
            {
                self.counters.keep_alives_sent += 1;
            }
        }
        self.keep_alive.sent = sent;
    }

    /// Whether anybody asked for decisions.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        !self.tracing.is_empty()
    }

    /// Tells of a decision, where anybody asked.
    #[inline]
    pub(super) fn trace(
        &mut self,
        way: Way,
        bytes: &[u8],
        sender: Option<IpAddr>,
        verdict: Verdict,
    ) {
        if self.is_traced() {
            self.tell(way, bytes, sender, verdict);
        }
    }

    #[cold]
    fn tell(&mut self, way: Way, bytes: &[u8], sender: Option<IpAddr>, verdict: Verdict) {
        // What cannot be read has no addresses to ask for.
        let Ok(packet) = Packet::parse(bytes) else {
            return;
        };
        let traced = Traced::new(way, &packet, sender, verdict);
        for tracing in &mut self.tracing {
            tracing.note(&traced);
        }
    }
}
