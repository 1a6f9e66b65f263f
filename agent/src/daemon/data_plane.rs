//! Our own data plane, where the backend needs one: a worker that carries packets between the TUN device and the
//! underlay. The device is the kernel thread's, like every other link; the worker attaches to it once it is there, and
//! again when it is there anew. It lives from session to session, so that packets flow while a lease is negotiated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};
use tweed_overlay::backend::Forwarding;
use tweed_overlay::forward::counters::Counters;
use tweed_overlay::forward::decide::Trust;
use tweed_overlay::forward::socket::Socket;
use tweed_overlay::forward::table::Table;
use tweed_overlay::forward::tun::Tun;
use tweed_overlay::forward::worker::{Setup, Worker};

/// What it carries, and why it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPlaneStatus {
    /// Packets sent to peers.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets given to pods.
    pub delivered_packets: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets that went nowhere, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Why nothing is carried.
    pub error: Option<String>,
}

/// Keeps a worker running for what is wanted.
#[derive(Debug, Default)]
pub struct DataPlane {
    wanted: Option<Arc<Forwarding>>,
    worker: Option<Worker>,
    /// What earlier workers have counted.
    before: DataPlaneStatus,
    error: Option<String>,
}

impl DataPlane {
    /// Forwards like this from now on, or not at all.
    pub(super) fn want(&mut self, wanted: Option<&Arc<Forwarding>>) {
        let Some(wanted) = wanted else {
            *self = Self::default();
            return;
        };
        let before = self.wanted.replace(Arc::clone(wanted));
        match (&before, &self.worker) {
            (Some(before), Some(worker)) if before.same_path(wanted) => {
                if before != wanted {
                    worker.forward_by(table(wanted));
                }
            }
            _ => self.end(),
        }
        self.look();
    }

    /// Starts the worker if it should run and doesn't: the device has come, or has come back.
    pub(super) fn look(&mut self) {
        if self.worker.as_ref().is_some_and(Worker::has_ended) {
            self.end();
        }
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.worker.is_none()) else {
            return;
        };
        // The device is not ours to make.
        if if_nametoindex(wanted.device.as_str()).is_err() {
            return;
        }
        match start(wanted) {
            Ok(worker) => {
                tracing::info!(
                    device = wanted.device,
                    port = wanted.port,
                    "data plane runs"
                );
                self.worker = Some(worker);
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

    /// What it has carried since the backend was chosen; nothing for backends without.
    pub(super) fn status(&self) -> Option<DataPlaneStatus> {
        self.wanted.as_ref()?;
        let mut status = self.before.clone();
        if let Some(worker) = &self.worker {
            status.add(&worker.counters());
        }
        status.error.clone_from(&self.error);
        Some(status)
    }

    fn end(&mut self) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        self.before.add(&worker.counters());
        if let Err(error) = worker.stop() {
            tracing::warn!(%error, "data plane ended; it starts again once its device is there");
        }
    }
}

impl DataPlaneStatus {
    fn add(&mut self, counters: &Counters) {
        self.sent_packets += counters.sent.packets;
        self.sent_bytes += counters.sent.bytes;
        self.delivered_packets += counters.delivered.packets;
        self.delivered_bytes += counters.delivered.bytes;
        for (reason, count) in counters.drops() {
            *self.dropped.entry(reason.label().to_owned()).or_default() += count;
        }
    }
}

fn start(wanted: &Forwarding) -> Result<Worker> {
    let tun = Tun::open(&wanted.device)?;
    let sockets = wanted.locals.try_map(|_, addr| {
        let addr = SocketAddr::new(*addr, wanted.port);
        Socket::bind(addr).with_context(|| format!("receive UDP at {addr}; does flanneld run?"))
    })?;
    let setup = Setup {
        tun,
        sockets,
        table: table(wanted),
        trust: Trust::default(),
    };
    Worker::start(setup).context("start the thread")
}

fn table(wanted: &Forwarding) -> Arc<Table> {
    Arc::new(Table::new(wanted.own, wanted.peers.clone()))
}
