//! The daemon: a thread that owns the kernel, a thread that listens to it, and one loop for everything else.

mod active;
pub mod answers;
mod asking;
pub mod choices;
pub mod clock;
mod common;
pub mod data_plane;
mod facts;
pub mod http;
mod inhabited;
pub mod inherited;
mod keepers;
mod lines;
mod main_loop;
mod metrics;
pub mod offline;
mod outcome;
pub mod peers;
mod per_minute;
mod phase;
pub mod probing;
pub mod published;
mod readiness;
mod readings;
mod ready_since;
mod redrawn;
pub mod sandbox;
pub mod saved;
mod session;
pub mod start;
pub mod status;
mod stop;
mod threads;
mod turns;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tweed_store::{Cluster, LeaseStore, NodeReport};

use crate::config::options::Options;
use crate::events::sentences;
use crate::files::state_dir::StateDir;
use crate::files::watch::Watch;
use crate::files::writer::Writer;
use crate::host::flanneld::beside::Beside;
use crate::host::lock::Lock;
pub use asking::forecast;
use choices::choices;
use common::Common;
use data_plane::DataPlane;
use facts::{Facts, SharedFacts};
use http::Server;
use inherited::Inherited;
use keepers::all::Keepers;
use keepers::cni::CniKeeper;
use keepers::collection::Collection;
use keepers::data_plane::DataPlaneKeeper;
use keepers::events::EventsKeeper;
use keepers::file_look::Files;
use keepers::flanneld::FlanneldKeeper;
use keepers::hindrances::Hindrances;
use keepers::lock::KeptLock;
use keepers::node_report::NodeReports;
use keepers::socket::Socket;
use keepers::subnet_file::SubnetFile;
use main_loop::{Loop, Outside};
use probing::start::start as start_probing;
use readings::Reader;
use sandbox::InForce;
pub use stop::told_to_stop;
use stop::{end_even_if_hung, stop_signal};
use threads::Threads;
use turns::Turns;

/// Runs the daemon on a store until a signal asks it to stop. The kernel stays as it is then.
///
/// # Errors
/// When it can't start; once it runs, it waits and retries instead.
pub async fn run<S: LeaseStore>(
    options: Options,
    store: S,
    lock: Lock,
    inherited: Inherited,
    sandbox: InForce,
    beside: Beside,
) -> Result<()> {
    let stop = stop_signal()?;
    end_even_if_hung()?;
    let hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let facts = SharedFacts::new(Facts::of(&options, sandbox));
    facts.lock().agent.contact = store.contact();
    let events = facts.lock().events.clone();
    let (instance, leases_from) = (&options.host.instance, &options.store);
    events.tell(sentences::agent_started(
        tweed_model::VERSION,
        instance,
        leases_from,
    ));
    let data_plane = DataPlane::received(inherited);
    facts.lock().cluster.probing = start_probing(options.probes, facts.clone());
    let threads = Threads::start(&options, data_plane.clone())?;
    let kernel = threads.worker.waker();
    let reader = Reader::by_kernel(kernel.clone());
    let writer = Arc::new(Writer::start()?);
    let files_changed = Watch::new();
    let turns = Turns::of_this_thread();
    let server = Server::new(
        facts.clone(),
        data_plane.clone(),
        (kernel.clone(), turns.clone()),
        &options,
    );
    let choices = choices(&options);
    let state = state_dir(&options.host.state_dir).in_background(Arc::clone(&writer));
    let kept = EventsKeeper::new(events.clone(), state.clone(), Instant::now());
    events.restore(saved::events(&state));
    let files = Files {
        reader: reader.beside(move |work| writer.run(work)),
        folders: files_changed.folders(),
    };
    let (tell, report) = watch::channel(NodeReport::default());
    let now = Instant::now();
    let (socket, listeners) = Socket::make(&options.host.socket, &files, now)?;
    tokio::spawn(server.clone().listen_unix(listeners));
    if let Some(addr) = options.http {
        tokio::spawn(server.listen(addr).await?);
    }
    let subnet_file = &options.host.subnet_file;
    let cni = options.cni.clone();
    let cni = cni.map(|cni| CniKeeper::new(cni, subnet_file.clone(), &files, now));
    let collection = options.collection.clone().map(|(every, folder)| {
        let placed = options.cni.as_ref().map(|cni| cni.conf_dir.clone());
        Collection::new(placed.unwrap_or(folder), every, files.reader.clone(), now)
    });
    let keepers = Keepers {
        state: state.clone(),
        events: kept,
        hindrances: Hindrances::new(
            &choices.table,
            (choices.bridge_filter, choices.forward_accept),
            state.clone(),
            reader.clone(),
        ),
        subnet_file: SubnetFile::new(subnet_file, files.clone(), now),
        data_plane: DataPlaneKeeper::new(data_plane.clone(), reader.clone()),
        cni,
        collection,
        socket,
        flanneld: FlanneldKeeper::new(options.clone(), beside, &files, now),
        lock: KeptLock::new(lock, &files, now),
        reports: NodeReports::new(tell, now),
    };
    let common = Common::new(
        options,
        choices,
        (state, data_plane.clone()),
        kernel,
        (reader, files.reader),
    );
    let outside = Outside {
        reports: threads.reports,
        uplink_changed: threads.uplink_changed,
        host_changed: threads.host_changed,
        files_changed,
        hang_up,
        stop,
        attend: async {
            if let Some(cluster) = store.cluster() {
                cluster.attend(report).await;
            }
            std::future::pending().await
        },
    };
    let mut main = Loop::new(&store, common, facts, keepers);
    turns.measure(main.run(outside)).await;
    events.tell(sentences::agent_stopped());
    // Without systemd there is nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    main.leave();
    threads.monitor.stop();
    threads.worker.stop();
    // Last: packets are carried until here.
    data_plane.leave();
    Ok(())
}

/// A host whose disk is full or read-only still needs its network.
fn state_dir(dir: &Path) -> StateDir {
    StateDir::open(dir).unwrap_or_else(|error| {
        tracing::error!(
            error = format!("{error:#}"),
            "state folder: nothing can be saved now; make room, or name another one with --state-dir"
        );
        StateDir::unusable(dir, &error)
    })
}
