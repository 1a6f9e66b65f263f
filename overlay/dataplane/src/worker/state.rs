//! What both directions of a worker use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tweed_forward::counters::Counters;
use tweed_forward::limit::Limits;
use tweed_forward::offloads::Offloads;
use tweed_forward::options::ForwardOptions;
use tweed_forward::packet::Packet;
use tweed_forward::path_mtu::PathMtus;
use tweed_forward::peers::PeerCounts;
use tweed_forward::table::Table;
use tweed_forward::trace::{Direction, TraceVerdict, Traced};
use tweed_model::Dual;

use super::mailbox::{Mail, Tracing, WorkerReport};
use super::setup::Setup;
use super::trials::WorkerTrials;
use crate::socket::Socket;
use crate::tun::Tun;

pub(super) struct WorkerState {
    pub(super) tun: Tun,
    pub(super) sockets: Dual<Socket>,
    /// What to forward by, with what was learned.
    pub(super) table: Arc<Table>,
    /// The same as it was posted.
    posted: Arc<Table>,
    pub(super) learned: PathMtus,
    pub(super) options: ForwardOptions,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) peers: PeerCounts,
    pub(super) tracing: Vec<Tracing>,
    /// A peer that a message was too big for.
    pub(super) suspect: Option<SocketAddr>,
    /// What the device takes of what it gives.
    pub(super) joins: [bool; 2],
    /// Which peers get single datagrams, and the trials by which that is found.
    pub(super) trials: WorkerTrials,
    /// Time since the start of the first worker, as of the last wake-up.
    pub(super) now: Duration,
    /// When the chores of each second are due.
    pub(super) chores: Duration,
    pub(super) keep_alive: KeepAlive,
}

/// When peers that were sent nothing are sent an empty datagram.
#[derive(Default)]
pub(super) struct KeepAlive {
    pub(super) next: Duration,
    /// Packets that had been sent to each peer by the last time.
    pub(super) sent: Vec<u64>,
}

impl WorkerState {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup {
            tun,
            sockets,
            table,
            options,
            trials,
        } = setup;
        let trials = WorkerTrials::new(trials, &table);
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
            now: trials.elapsed(),
            trials,
            chores: Duration::ZERO,
            keep_alive: KeepAlive::default(),
        }
    }

    pub(super) fn report(&self) -> WorkerReport {
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
        WorkerReport {
            counters: self.counters,
            peers: self.peers.clone(),
            table: Arc::clone(&self.table),
            standings: self.trials.standings(),
            offloads,
            joined_damaged,
        }
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self) -> Duration {
        self.now = self.trials.elapsed();
        self.now
    }

    /// Takes the table and the traces that the mail brings.
    pub(super) fn take_mail(&mut self, mail: Mail) {
        if let Some(table) = mail.table {
            self.peers = self.peers.follow(&self.table, &table);
            self.keep_alive.sent.clear();
            self.trials.follow(&table);
            self.posted = table;
            self.take_posted();
        }
        self.tracing.extend(mail.tracing);
    }

    /// The posted table, with what was learned.
    pub(super) fn take_posted(&mut self) {
        self.table = Arc::clone(&self.posted);
        if !self.learned.is_empty() {
            self.learned.tell(Arc::make_mut(&mut self.table));
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        for socket in [&mut self.sockets.v4, &mut self.sockets.v6] {
            socket.iter_mut().for_each(Socket::begin_turn);
        }
    }

    /// Datagrams of one sender came joined. Damage counts only in those of peers.
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
        self.sockets.values().any(Socket::is_out_of_time)
    }

    /// Learns that datagrams of more than so many bytes do not get to an address.
    pub(super) fn learn(&mut self, addr: IpAddr, mtu: u32, since: Duration) {
        if (self.learned).learn(&mut self.table, addr, mtu, since) {
            tracing::info!(peer = %addr, mtu, "the path to a peer is narrower than the uplink");
        }
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
        direction: Direction,
        bytes: &[u8],
        sender: Option<IpAddr>,
        verdict: TraceVerdict,
    ) {
        if self.is_traced() {
            self.tell(direction, bytes, sender, verdict);
        }
    }

    #[cold]
    fn tell(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        sender: Option<IpAddr>,
        verdict: TraceVerdict,
    ) {
        // What cannot be read has no addresses to ask for.
        let Ok(packet) = Packet::parse(bytes) else {
            return;
        };
        let traced = Traced::new(direction, &packet, sender, verdict);
        for tracing in &mut self.tracing {
            tracing.note(&traced);
        }
    }
}
