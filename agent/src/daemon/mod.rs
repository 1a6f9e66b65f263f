//! The daemon: a thread that owns the kernel, a thread that listens to it, and one loop for everything else.

mod bootstrap;
mod cni;
pub mod data_plane;
mod health;
pub mod http;
pub mod inherited;
mod metrics;
pub mod offline;
mod outputs;
pub mod peers;
pub mod sandbox;
mod saved;
mod service;
mod session;
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
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipnet::IpNet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tweed_overlay::firewall::Masquerade;
use tweed_overlay::firewall::record::RECORDS_DIR;
use tweed_overlay::kernel::firewall::Restorer;
use tweed_overlay::kernel::{Event, Linux, Monitor};
use tweed_overlay::model::{Seniority, SubnetKey};
use tweed_overlay::plan::Choices;
use tweed_overlay::random;
use tweed_overlay::reconcile::worker::{Report, Wake, Worker};
use tweed_overlay::store::{LeaseStore, NodeReport};

use crate::host::facts::HostFacts;
use crate::daemon::inherited::Inherited;
use crate::config::options::{Options, StoreOptions};
use crate::host::presence;
use crate::daemon::sandbox::InForce;
use crate::files::state_dir::{SavedLease, StateDir};
use crate::host::uplink::{self, Choice, Known};
use cni::CniFiles;
use data_plane::DataPlane;
use http::Server;
use session::outcome::log_outcome;
use status::{SharedStatus, Status};
pub use stop::told_to_stop;
use stop::{end_even_if_hung, stop_signal};
use surroundings::Surroundings;

/// How often files, sysctls and workers, which give no netlink event, are looked at.
const TICK: Duration = Duration::from_millis(500);

/// What the parts of the loop share.
pub struct Daemon {
    options: Options,
    choices: Choices,
    state: StateDir,
    status: SharedStatus,
    kernel: Sender<Wake>,
    reports: mpsc::UnboundedReceiver<Report>,
    uplink_changed: Arc<Notify>,
    /// Networks of earlier configurations whose routes may still be there.
    former: BTreeSet<IpNet>,
    /// What is known of addresses: what this node was known by, and the others.
    known: Known,
    /// The choice that was logged last.
    announced_uplink: RefCell<Option<Choice>>,
    /// The lease that the last session lost for good: what stands under its key is somebody else's.
    given_up: Option<SubnetKey>,
    /// Which lease announced what first, over all sessions.
    seniority: Seniority,
    /// Looks after the plugins' nftables table.
    restorer: Restorer,
    /// Looks for what is in the way of pods' packets.
    surroundings: Surroundings,
    /// Carries packets, where the backend has no kernel device that does.
    data_plane: DataPlane,
    /// Looks after the files for the container runtime, where that was asked for.
    cni: Option<CniFiles>,
}

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

/// The operator's choices that shape the wanted state.
pub fn choices(options: &Options) -> Choices {
    let firewall = options.firewall;
    Choices {
        table: options.host.instance.table().to_owned(),
        masquerade: firewall.ip_masq.then_some(Masquerade {
            fully_random: firewall.random_fully,
        }),
        forward_accept: firewall.forward_rules,
        allow_list: firewall.peer_allow_list,
        check_sources: firewall.check_sources,
        way_back: knows_way_back(),
        blackhole: options.blackhole_route,
        bridge_filter: matches!(options.store, StoreOptions::Kube(_)),
        former: BTreeSet::new(),
    }
}

/// Whether the packet filter can ask for the way back of a packet to this host: since Linux 5.19.
fn knows_way_back() -> bool {
    kernel_version() >= (5, 19)
}

/// Major and minor number of the running kernel; zeroes where it doesn't say.
fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.trim().parse::<u32>().ok());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
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

impl Daemon {
    /// Takes over what an earlier process of this node was known by, and whom it knew.
    fn remember(&mut self, saved: Option<&SavedLease>) {
        if self.known.before.is_empty() {
            self.known.before = saved.map(SavedLease::known_by).unwrap_or_default();
        }
        let peers = saved::peers(&self.state).leases;
        let addrs = peers.values().flat_map(|peer| peer.attrs.public.values());
        self.known.others.extend(addrs);
    }

    /// Logs a choice of the uplink, once as long as it stays the same.
    fn announce_uplink(&self, choice: &Choice) {
        if self.announced_uplink.borrow().as_ref() != Some(choice) {
            uplink::announce(choice);
            self.announced_uplink.replace(Some(choice.clone()));
        }
    }

    fn wake(&self, wake: Wake) {
        // The thread ends only with the daemon.
        let _ = self.kernel.send(wake);
    }

    /// Puts back what the plugins had in their nftables table, if another program has flushed it.
    fn restore_plugins_table(&mut self) {
        match self.restorer.look() {
            Ok(0) => {}
            Ok(attachments) => {
                tracing::warn!(
                    attachments,
                    "another program flushed the plugins' nftables table; restored"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "the plugins' nftables table can't be looked after now")
            }
        }
    }

    /// Tells what is in the way of these networks' packets.
    fn look_around(&mut self, networks: &[IpNet]) {
        let now = Instant::now();
        if let Some(news) = self.surroundings.look(networks, &self.restorer, now) {
            self.status.update(|status| status.warnings = news);
        }
    }

    /// Places the files for the container runtime; the list only when a pod could start now.
    fn look_after_cni(&mut self, pods_can_start: bool) {
        let Some(cni) = &mut self.cni else { return };
        let subnet_file = self.options.host.subnet_file.exists();
        if let Some(news) = cni.look(pods_can_start, subnet_file, Instant::now()) {
            self.status.update(|status| status.cni = Some(news));
        }
    }

    /// Has packets carried where that is our affair.
    fn look_after_data_plane(&self) {
        self.data_plane.look();
        let (error, carries) = (self.data_plane.error(), self.data_plane.carries());
        self.status.update(|status| {
            status.data_plane_error = error;
            status.data_plane_carries = carries;
        });
    }

    /// Tells what is wrong with the host's own network, once.
    fn tell_host_facts(&self, found: &HostFacts) {
        let news = self.status.update(|status| {
            let news = status.host != found.missing;
            status.host.clone_from(&found.missing);
            news
        });
        for reason in found.missing.iter().filter(|_| news) {
            tracing::warn!(reason, "the host's own network");
        }
    }

    /// Waits before another attempt; logs a reason once as long as it stays the same.
    async fn wait(&mut self, reason: &str, time: Duration) {
        let new = self.status.update(|status| {
            let new = status.waiting.as_deref() != Some(reason);
            status.waiting = Some(reason.to_owned());
            new
        });
        if new {
            tracing::warn!(reason, "waiting");
        }
        let over = tokio::time::sleep(time.mul_f64(0.8 + 0.4 * random::fraction()));
        tokio::pin!(over);
        let mut tick = tokio::time::interval(TICK);
        loop {
            // The kernel thread repairs what it was last told to, and its reports must not pile up meanwhile.
            tokio::select! {
                () = &mut over => return,
                _ = tick.tick() => self.look_after_data_plane(),
                Some(report) = self.reports.recv() => {
                    let outcome = &report.outcome;
                    self.data_plane.want(outcome.forwarding.as_ref());
                    log_outcome(outcome, &outcome.failed, None);
                    self.status.update(|status| status.add_outcome(outcome));
                }
            }
        }
    }

    fn notify_ready(&self) {
        // Without systemd there is nobody to notify.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}
