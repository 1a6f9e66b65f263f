//! The thread that owns the kernel, and the one that listens to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc};
use tweed_attach::live::{CNI_DATA_DIR, Records};
use tweed_attach::record::RECORDS_DIR;
use tweed_host::random;
use tweed_kernel::{Event, Linux, Monitor};
use tweed_reconcile::worker::{KernelReport, Wake, Worker};

use super::data_plane::DataPlane;
use crate::config::options::Options;
use crate::host::presence;

/// Both, and what they tell.
pub(super) struct Threads {
    pub(super) worker: Worker,
    pub(super) monitor: Monitor,
    pub(super) reports: mpsc::UnboundedReceiver<KernelReport>,
    pub(super) uplink_changed: Arc<Notify>,
    pub(super) host_changed: Arc<Notify>,
}

impl Threads {
    pub(super) fn start(options: &Options, data_plane: DataPlane) -> Result<Self> {
        let kernel = Linux::open().context("open netlink sockets")?;
        let kernel = kernel
            .beside(presence::others(&options.host.run_dir))
            .with_attachments(records());
        let wakes = channel();
        let (uplink_changed, host_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let changed = (Arc::clone(&uplink_changed), Arc::clone(&host_changed));
        let monitor = start_monitor(&kernel, wakes.0.clone(), changed)?;
        let (report, reports) = mpsc::unbounded_channel();
        let report = move |sent: KernelReport| {
            if let KernelReport::Pass(done) = &sent {
                data_plane.want(done.outcome.forwarding.as_ref());
            }
            // The receiver lives as long as the daemon.
            drop(report.send(sent));
        };
        let worker = Worker::start(kernel, wakes, options.resync, random::fraction, report);
        let worker = worker.context("start the kernel thread")?;
        Ok(Self {
            worker,
            monitor,
            reports,
            uplink_changed,
            host_changed,
        })
    }
}

/// The records of containers' attachments on this host.
pub(super) fn records() -> Records {
    Records::new(Path::new(RECORDS_DIR), Path::new(CNI_DATA_DIR))
}

fn start_monitor(
    kernel: &Linux,
    wake: Sender<Wake>,
    (uplink_changed, host_changed): (Arc<Notify>, Arc<Notify>),
) -> Result<Monitor> {
    let tell = move |event| match event {
        // A kernel thread that has ended needs no waking.
        Event::Dirty => drop(wake.send(Wake::Dirty)),
        Event::Attached => drop(wake.send(Wake::Attached)),
        Event::Host => host_changed.notify_one(),
        Event::Uplink => uplink_changed.notify_one(),
    };
    Monitor::start(kernel, tell).context("listen to the kernel")
}
