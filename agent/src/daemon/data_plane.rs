//! Our own data plane, where the backend needs one: workers that carry packets between the TUN device and the underlay.
//! The device is the kernel thread's, like every other link; the workers attach to it once it is there, and again when
//! it is there anew. They live from session to session, so that packets flow while a lease is negotiated.

mod damaged;
mod kept;
pub mod status;

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use tweed_dataplane::socket::Socket;
use tweed_dataplane::socket::loopback::{self, Wrong};
use tweed_dataplane::tun::Tun;
use tweed_dataplane::worker::{Setup, SharedTrials, Worker, WorkerIo};
use tweed_forward::forwarding::Forwarding;
use tweed_forward::offloads::Offloads;
use tweed_forward::options::ForwardOptions;
use tweed_forward::table::{Peer, Table};
use tweed_forward::trace::{Filter, Traced};
use tweed_model::Family;

use self::kept::{Kept, port};
use self::status::{Counted, DataPlaneStatus};
use crate::daemon::inherited::Inherited;

/// Pause after a start that failed; doubled after each further failure.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(4);

/// Traces at the same time.
const LISTENERS: usize = 8;

/// Keeps workers running for what is wanted. Clones share one state. Calls that start, end or ask workers wait for them,
/// and are not for the main thread, which reads what was [`seen`](DataPlane::seen) last.
#[derive(Clone, Debug, Default)]
pub struct DataPlane {
    state: Arc<Mutex<State>>,
    seen: Arc<Mutex<Seen>>,
}

/// State of the data plane, for the main thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A backend wants packets forwarded.
    pub wanted: bool,
    /// Workers run.
    pub carries: bool,
    /// Why nothing is carried though it should be, or not everything.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    wanted: Option<Arc<Forwarding>>,
    workers: Vec<Worker>,
    /// Devices and sockets of earlier workers.
    kept: Kept,
    /// What earlier workers have counted.
    before: Counted,
    error: Option<String>,
    /// What the self-test found.
    wrong: Wrong,
    /// Damaged datagrams that had come before.
    damaged: u64,
    /// When to try again what has failed, and how long to wait if it fails again.
    retry: Option<(Instant, Duration)>,
    /// Receivers of single decisions.
    listeners: Vec<Weak<()>>,
}

/// Why no trace can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTrace {
    /// No worker runs.
    NothingRuns,
    /// The limit of traces is reached.
    Busy,
}

impl DataPlane {
    /// A data plane that carries on where an earlier agent has stopped, if the service manager has kept its descriptors. To
    /// be called once.
    pub(super) fn received(inherited: Inherited) -> Self {
        let state = State {
            kept: Kept::received(inherited),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            seen: Arc::default(),
        }
    }

    /// The last known state, without waiting.
    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Publishes the state.
    fn tell(&self, state: &State) {
        *lock(&self.seen) = Seen {
            wanted: state.wanted.is_some(),
            carries: !state.workers.is_empty(),
            error: state.error.clone(),
        };
    }

    /// Whether [`start_if_due`](Self::start_if_due) may have something to do, without waiting.
    pub(super) fn is_to_start(&self) -> bool {
        let state = self.state.try_lock();
        state.is_ok_and(|state| state.is_to_start())
    }

    /// Stops, and leaves the descriptors to the next agent. A device that goes with the agent goes now.
    pub(super) fn leave(&self) {
        let mut state = lock(&self.state);
        state.end();
        let persist = state.wanted.take().is_none_or(|wanted| wanted.persist);
        let kept = std::mem::take(&mut state.kept);
        if persist && let Err(error) = kept.leave() {
            tracing::warn!(
                error = format!("{error:#}"),
                "what comes until the next agent runs is lost"
            );
        }
    }

    /// Forwards like this from now on, or not at all.
    pub(super) fn want(&self, wanted: Option<&Arc<Forwarding>>) {
        let mut state = lock(&self.state);
        match wanted {
            Some(wanted) => state.want(wanted),
            None => *state = State::default(),
        }
        self.tell(&state);
    }

    /// Starts the workers if they should run and don't: the device has come, or has come back.
    pub(super) fn start_if_due(&self) {
        let mut state = lock(&self.state);
        state.look();
        self.tell(&state);
    }

    /// Traffic since the backend was chosen; nothing for backends without a data plane. Waits for the workers.
    pub(super) fn status(&self) -> Option<DataPlaneStatus> {
        let state = lock(&self.state);
        let wanted = state.wanted.clone()?;
        let (mut counted, error) = (state.before.clone(), state.error.clone());
        let (wrong, damaged) = (state.wrong.clone(), state.damaged);
        let asked: Vec<_> = state.workers.iter().map(Worker::ask).collect();
        // The lock is not held while the workers are waited for.
        drop(state);
        let workers = asked.len();
        for report in asked {
            counted.add_running(&report());
        }
        let mut status = counted.status(&wanted, workers, error);
        status.tell_wrong(&wrong);
        status.damaged = damaged::count().saturating_sub(damaged);
        Some(status)
    }

    /// Sends single decisions as long as the returned value lives.
    pub(super) fn trace(
        &self,
        filter: Filter,
        tell: &SyncSender<Traced>,
    ) -> Result<Arc<()>, NoTrace> {
        let mut state = lock(&self.state);
        if state.workers.is_empty() {
            return Err(NoTrace::NothingRuns);
        }
        state
            .listeners
            .retain(|listener| listener.strong_count() > 0);
        if state.listeners.len() == LISTENERS {
            return Err(NoTrace::Busy);
        }
        let listener = Arc::new(());
        state.listeners.push(Arc::downgrade(&listener));
        for worker in &state.workers {
            let tracer = worker.tracer();
            tracer.trace(filter, tell.clone(), Arc::downgrade(&listener));
        }
        Ok(listener)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn want(&mut self, wanted: &Arc<Forwarding>) {
        let before = self.wanted.replace(Arc::clone(wanted));
        if before.is_none() {
            self.damaged = damaged::count();
        }
        match before {
            Some(before) if before.same_path(wanted) => {
                if before != *wanted {
                    let table = table(wanted);
                    for worker in &self.workers {
                        worker.forward_by(Arc::clone(&table));
                    }
                }
            }
            _ => {
                self.end();
                self.retry = None;
            }
        }
        self.look();
    }

    fn is_to_start(&self) -> bool {
        let ended = self.workers.iter().any(Worker::has_ended);
        self.wanted.is_some() && (ended || self.workers.is_empty())
    }

    fn look(&mut self) {
        if self.workers.iter().any(Worker::has_ended) {
            self.end();
        }
        let Some(wanted) = self.wanted.clone().filter(|_| self.workers.is_empty()) else {
            return;
        };
        let now = Instant::now();
        if self.retry.is_some_and(|(at, _)| now < at) {
            return;
        }
        // The device is not ours to make.
        if if_nametoindex(wanted.device.as_str()).is_err() {
            return;
        }
        let kept = self.kept.take(&wanted);
        let carries_on = kept.is_some();
        match start(&wanted, kept) {
            Ok((workers, wrong)) => {
                let (device, port, count) = (&wanted.device, wanted.port, workers.len());
                tracing::info!(device, port, workers = count, carries_on, "data plane runs");
                let offloads = workers.iter().map(|worker| worker.report().offloads);
                let offloads = offloads.fold(Offloads::ALL, Offloads::and);
                for (offload, _) in offloads.each().into_iter().filter(|(_, on)| !on) {
                    tracing::warn!(
                        offload,
                        "this kernel does not take this work from the data plane"
                    );
                }
                for reason in [&wrong.send, &wrong.receive].into_iter().flatten() {
                    tracing::warn!(reason, "the data plane's self-test failed");
                }
                self.wrong = wrong;
                self.workers = workers;
                self.error = lacking(&wanted);
                if let Some(error) = &self.error {
                    tracing::error!(error, "data plane");
                }
                self.retry = None;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(error, "data plane");
                }
                self.error = Some(error);
                let wait = self
                    .retry
                    .map_or(RETRY, |(_, wait)| (2 * wait).min(RETRY_MOST));
                self.retry = Some((now + wait, wait));
            }
        }
    }

    fn end(&mut self) {
        self.workers.iter().for_each(Worker::end_soon);
        for (number, worker) in self.workers.drain(..).enumerate() {
            let stopped = worker.stop();
            self.before.add(&stopped.report);
            self.wanted
                .iter()
                .for_each(|wanted| self.before.keep(wanted));
            match (stopped.ended, stopped.io) {
                (Ok(()), Some(ends)) => self.kept.keep(number, ends),
                (Ok(()), None) => {}
                // Whatever the reason, the next workers begin anew.
                (Err(error), _) => {
                    tracing::warn!(%error, "data plane ended; it starts again once its device is there");
                }
            }
        }
    }
}

fn start(wanted: &Forwarding, kept: Option<Vec<WorkerIo>>) -> Result<(Vec<Worker>, Wrong)> {
    let table = table(wanted);
    let mut ends = match kept {
        Some(ends) => ends,
        None => open(wanted)?,
    };
    for WorkerIo { tun, .. } in &ends {
        tun.persist(wanted.persist)
            .with_context(|| format!("say whether {} outlives the agent", wanted.device))?;
    }
    let wrong = self_test(&mut ends);
    let trials = Arc::new(SharedTrials::default());
    let worker = |(number, WorkerIo { tun, sockets })| {
        let options = ForwardOptions {
            // The flow that a NAT is to remember is that of the port that peers send to.
            keep_alive: wanted.options.keep_alive.filter(|_| number == 0),
            ..wanted.options
        };
        let table = Arc::clone(&table);
        let setup = Setup {
            tun,
            sockets,
            table,
            options,
            trials: Arc::clone(&trials),
        };
        Worker::start(setup).context("start the thread")
    };
    let workers = ends.into_iter().enumerate().map(worker);
    Ok((workers.collect::<Result<_>>()?, wrong))
}

/// Offloads that give wrong packets on the loopback are not used.
fn self_test(ends: &mut [WorkerIo]) -> Wrong {
    let mut all = Wrong::default();
    for family in Family::BOTH {
        let sockets = ends.iter_mut().map(|ends| ends.sockets.get_mut(family));
        let mut sockets = sockets.flatten().peekable();
        if sockets.peek().is_none() {
            continue;
        }
        let wrong = loopback::test(family);
        sockets.for_each(|socket| socket.avoid(&wrong));
        all.send = all.send.or(wrong.send);
        all.receive = all.receive.or(wrong.receive);
    }
    all
}

/// Opens the sockets first: a device that does not outlive its last user would go with each start that fails.
fn open(wanted: &Forwarding) -> Result<Vec<WorkerIo>> {
    let sockets = |number| {
        wanted.locals.try_map(|_, addr| {
            let addr = SocketAddr::new(*addr, wanted.port);
            let socket = Socket::bind(addr, port(wanted, number));
            socket.with_context(|| format!("receive UDP at {addr}; does flanneld run?"))
        })
    };
    let sockets: Vec<_> = (0..wanted.workers).map(sockets).collect::<Result<_>>()?;
    let ends = sockets.into_iter().map(|sockets| {
        let tun = match wanted.workers > 1 {
            true => Tun::open_queue(&wanted.device),
            false => Tun::open(&wanted.device),
        };
        Ok(WorkerIo { tun: tun?, sockets })
    });
    ends.collect()
}

/// Families that can't be carried for the lack of an address.
fn lacking(wanted: &Forwarding) -> Option<String> {
    let lacks = |family: &Family| wanted.own.has(*family) && !wanted.locals.has(*family);
    let family = Family::BOTH.into_iter().find(lacks)?;
    Some(format!(
        "the uplink has no address for {family} but link-local ones; give it one"
    ))
}

/// The table to forward by. Without an own address in a peer's family the peer can't be reached, and pods get an error.
fn table(wanted: &Forwarding) -> Arc<Table> {
    let reachable = |peer: &&Peer| wanted.locals.has(Family::of(&peer.endpoint.ip()));
    let peers = wanted.peers.values().filter(reachable);
    Arc::new(Table::new(wanted.own, peers.cloned().collect()))
}
