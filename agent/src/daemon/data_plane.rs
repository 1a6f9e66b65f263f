//! Our own data plane, where the backend needs one: workers that carry packets between the TUN device and the underlay.
//! The device is the kernel thread's, like every other link; the workers attach to it once it is there, and again when
//! it is there anew. They live from session to session, so that packets flow while a lease is negotiated.

pub mod status;

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use tweed_overlay::backend::Forwarding;
use tweed_overlay::forward::offloads::Offloads;
use tweed_overlay::forward::options::Options;
use tweed_overlay::forward::socket::{Port, Socket};
use tweed_overlay::forward::table::Table;
use tweed_overlay::forward::trace::{Filter, Traced};
use tweed_overlay::forward::tun::Tun;
use tweed_overlay::forward::worker::{Setup, Worker};

use self::status::{Counted, DataPlaneStatus};

/// Keeps workers running for what is wanted. Clones are the same one: the servers ask it what was carried.
#[derive(Clone, Debug, Default)]
pub struct DataPlane(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    wanted: Option<Arc<Forwarding>>,
    workers: Vec<Worker>,
    /// What earlier workers have counted.
    before: Counted,
    error: Option<String>,
}

impl DataPlane {
    /// Forwards like this from now on, or not at all.
    pub(super) fn want(&self, wanted: Option<&Arc<Forwarding>>) {
        let mut state = self.lock();
        let Some(wanted) = wanted else {
            *state = State::default();
            return;
        };
        let before = state.wanted.replace(Arc::clone(wanted));
        match before {
            Some(before) if before.same_path(wanted) => {
                if before != *wanted {
                    let table = table(wanted);
                    for worker in &state.workers {
                        worker.forward_by(Arc::clone(&table));
                    }
                }
            }
            _ => state.end(),
        }
        state.look();
    }

    /// Whether there is anything to forward by.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted.is_some()
    }

    /// Starts the workers if they should run and don't: the device has come, or has come back.
    pub(super) fn look(&self) {
        self.lock().look();
    }

    /// Why nothing is carried though it should be.
    pub(super) fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    /// What it has carried since the backend was chosen; nothing for backends without.
    pub(super) fn status(&self) -> Option<DataPlaneStatus> {
        let state = self.lock();
        let wanted = state.wanted.as_ref()?;
        let mut counted = state.before.clone();
        for worker in &state.workers {
            counted.add(&worker.report());
        }
        Some(counted.status(wanted, state.workers.len(), state.error.clone()))
    }

    /// Tells of single decisions until nobody listens any more. Says whether there is anything that decides.
    pub(super) fn trace(&self, filter: Filter, tell: &SyncSender<Traced>) -> bool {
        let state = self.lock();
        for worker in &state.workers {
            worker.tracer().trace(filter, tell.clone());
        }
        !state.workers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self) {
        if self.workers.iter().any(Worker::has_ended) {
            self.end();
        }
        let Some(wanted) = self.wanted.clone().filter(|_| self.workers.is_empty()) else {
            return;
        };
        // The device is not ours to make.
        if if_nametoindex(wanted.device.as_str()).is_err() {
            return;
        }
        match start(&wanted) {
            Ok(workers) => {
                let (device, port, count) = (&wanted.device, wanted.port, workers.len());
                tracing::info!(device, port, workers = count, "data plane runs");
                let offloads = workers.iter().map(|worker| worker.report().offloads);
                let offloads = offloads.fold(Offloads::ALL, Offloads::and);
                for (offload, _) in offloads.each().into_iter().filter(|(_, on)| !on) {
                    tracing::warn!(
                        offload,
                        "this kernel does not take this work from the data plane"
                    );
                }
                self.workers = workers;
                self.error = None;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(error, "data plane");
                }
                self.error = Some(error);
            }
        }
    }

    fn end(&mut self) {
        for worker in self.workers.drain(..) {
            let (report, ended) = worker.stop();
            self.before.add(&report);
            if let Err(error) = ended {
                tracing::warn!(%error, "data plane ended; it starts again once its device is there");
            }
        }
    }
}

fn start(wanted: &Forwarding) -> Result<Vec<Worker>> {
    let table = table(wanted);
    let several = wanted.workers > 1;
    let worker = |number: u8| {
        let tun = if several {
            Tun::open_queue(&wanted.device)?
        } else {
            Tun::open(&wanted.device)?
        };
        tun.persist(wanted.persist)
            .with_context(|| format!("say whether {} outlives the agent", wanted.device))?;
        let port = match number {
            _ if !several => Port::Alone,
            0 => Port::First,
            _ => Port::Further,
        };
        let sockets = wanted.locals.try_map(|_, addr| {
            let addr = SocketAddr::new(*addr, wanted.port);
            let socket = Socket::bind(addr, port);
            socket.with_context(|| format!("receive UDP at {addr}; does flanneld run?"))
        })?;
        let options = Options {
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
        };
        Worker::start(setup).context("start the thread")
    };
    (0..wanted.workers).map(worker).collect()
}

fn table(wanted: &Forwarding) -> Arc<Table> {
    Arc::new(Table::new(wanted.own, wanted.peers.clone()))
}
