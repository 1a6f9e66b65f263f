//! The daemon: a thread that owns the kernel, a thread that listens to it, and one loop for everything else.

pub mod answers;
mod bootstrap;
pub mod choices;
mod cni;
pub mod data_plane;
mod health;
pub mod http;
pub mod inherited;
mod metrics;
pub mod offline;
mod outputs;
pub mod peers;
mod redrawn;
pub mod sandbox;
mod saved;
mod service;
mod session;
mod shared;
pub mod start;
pub mod status;
mod stop;
mod surroundings;
pub mod told;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tweed_attach::live::Restorer;
use tweed_attach::record::RECORDS_DIR;
use tweed_host::random;
use tweed_kernel::{Event, Linux, Monitor};
use tweed_model::Seniority;
use tweed_reconcile::worker::{Report, Wake, Worker};
use tweed_store::{LeaseStore, NodeReport};

use crate::config::options::Options;
use crate::files::state_dir::StateDir;
use crate::host::presence;
use crate::host::uplink::Known;
use choices::choices;
use cni::CniFiles;
use data_plane::DataPlane;
use http::Server;
use inherited::Inherited;
use sandbox::InForce;
use shared::Daemon;
use status::{SharedStatus, Status};
pub use stop::told_to_stop;
use stop::{end_even_if_hung, stop_signal};
use surroundings::Surroundings;

/// Runs the daemon on a store until a signal asks it to stop. The kernel stays as it is then.
///
/// # Errors
/// When it can't start; once it runs, it waits and retries instead.
pub async fn run<S: LeaseStore>(
    options: Options,
    store: S,
    inherited: Inherited,
    sandbox: InForce,
) -> Result<()> {
    let stop = stop_signal()?;
    end_even_if_hung()?;
    let hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let status = SharedStatus::default();
    status.update(|status| {
        describe(status, &options);
        status.sandbox = sandbox;
    });
    let threads = Threads::start(&options)?;
    let data_plane = DataPlane::received(inherited);
    let server = Server::new(
        status.clone(),
        data_plane.clone(),
        threads.worker.waker(),
        &options,
    );
    tokio::spawn(server.clone().listen_unix(&options.host.socket)?);
    if let Some(addr) = options.http {
        tokio::spawn(server.listen(addr).await?);
    }
    let look_again = threads.worker.waker();
    let choices = choices(&options);
    let mut daemon = Daemon {
        surroundings: Surroundings::new(&choices.table, choices.bridge_filter)?,
        choices,
        state: state_dir(&options.host.state_dir),
        cni: options.cni.clone().map(CniFiles::new),
        options,
        status,
        kernel: threads.worker.waker(),
        reports: threads.reports,
        uplink_changed: threads.uplink_changed,
        former: BTreeSet::new(),
        known: Known::default(),
        announced_uplink: RefCell::default(),
        given_up: None,
        seniority: Seniority::default(),
        redrawn: None,
        data_plane,
        restorer: Restorer::open(Path::new(RECORDS_DIR)).context("open a netlink socket")?,
    };
    daemon.seniority = saved::seniority(&daemon.state);
    daemon.look_after_cni(false);
    let (tell, report) = watch::channel(NodeReport::default());
    let status = daemon.status.clone();
    tokio::select! {
        () = sessions(&store, &mut daemon) => {}
        () = health::observe(&status, &tell) => {}
        () = store.attend(report) => {}
        () = hang_ups(hang_up, look_again) => {}
        () = stop => {}
    }
    tracing::info!("stopping; the kernel stays programmed");
    // Without systemd there is nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if let Some(cni) = &daemon.cni {
        cni.stop();
    }
    threads.monitor.stop();
    threads.worker.stop();
    // Last: packets are carried until here.
    daemon.data_plane.leave();
    Ok(())
}

/// There is nothing to reload: options are the command line's, everything else is watched. Whoever sends the signal wants
/// the agent to look again, and not to end. Never returns.
async fn hang_ups(mut signals: Signal, kernel: Sender<Wake>) {
    while signals.recv().await.is_some() {
        tracing::info!("SIGHUP: comparing everything with the kernel");
        let _ = kernel.send(Wake::Dirty);
    }
}

/// One session after the other. Never returns.
async fn sessions<S: LeaseStore>(store: &S, daemon: &mut Daemon) {
    loop {
        let session = bootstrap::session(store, daemon).await;
        let reason = session::drive(store, session, daemon).await;
        tracing::warn!(reason, "session ends, another one begins");
        daemon.status.update(|status| status.waiting = Some(reason));
    }
}

/// A host whose disk is full or read-only still needs its network.
fn state_dir(dir: &Path) -> StateDir {
    StateDir::open(dir).unwrap_or_else(|error| {
        tracing::error!(
            error = format!("{error:#}"),
            "state folder: nothing will be saved; name another one with --state-dir"
        );
        StateDir::at(dir)
    })
}

fn describe(status: &mut Status, options: &Options) {
    *status = Status::unheard(options);
    status.pid = Some(std::process::id());
    status.waiting = Some("starting".to_owned());
}

/// The thread that owns the kernel, and the one that listens to it.
struct Threads {
    worker: Worker,
    monitor: Monitor,
    reports: mpsc::UnboundedReceiver<Report>,
    uplink_changed: Arc<Notify>,
}

impl Threads {
    fn start(options: &Options) -> Result<Self> {
        let kernel = Linux::open().context("open netlink sockets")?;
        let kernel = kernel.beside(presence::others(&options.host.run_dir));
        let wakes = channel();
        let uplink_changed = Arc::new(Notify::new());
        let monitor = start_monitor(&kernel, wakes.0.clone(), Arc::clone(&uplink_changed))?;
        let (report, reports) = mpsc::unbounded_channel();
        // The receiver lives as long as the daemon.
        let report = move |done| drop(report.send(done));
        let worker = Worker::start(kernel, wakes, options.resync, random::fraction, report);
        let worker = worker.context("start the kernel thread")?;
        Ok(Self {
            worker,
            monitor,
            reports,
            uplink_changed,
        })
    }
}

fn start_monitor(
    kernel: &Linux,
    wake: Sender<Wake>,
    uplink_changed: Arc<Notify>,
) -> Result<Monitor> {
    let tell = move |event| match event {
        // A kernel thread that has ended needs no waking.
        Event::Dirty => drop(wake.send(Wake::Dirty)),
        Event::Uplink => uplink_changed.notify_one(),
    };
    Monitor::start(kernel, tell).context("listen to the kernel")
}
