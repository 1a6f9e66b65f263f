//! The state that a node would want, or had, computed without an agent: from its saved state, and from the store if that
//! answers. Takes no lease and changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tweed_backend::Backends;
use tweed_kernel::Linux;
use tweed_model::{ClusterSnapshot, Dual, LocalNode, NetworkConfig, Subnets, Uplink};
use tweed_plan::desired;
use tweed_reconcile::Reconciler;
use tweed_state::Desired;
use tweed_store::LeaseStore;

use super::answers::Preview;
use super::choices::choices;
use super::saved;
use super::status::{Standing, Status};
use super::threads::records;
use crate::config::options::{Options, StoreOptions};
use crate::files::state_dir::{SavedLease, SavedRun, StateDir};
use crate::host::facts;
use crate::host::lock;
use crate::host::presence;
use crate::host::uplink::{self, Known, Overlay, Wanted};
use crate::store::Store;

/// How long the store may take before the saved peers are used.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Stands in for an uplink's MTU where only names and addresses matter.
const ANY_MTU: u32 = 1500;

/// What a pass would do.
///
/// # Errors
/// As [`wanted`], and when the kernel can't be read.
pub async fn preview(options: &Options) -> Result<Preview> {
    let want = wanted(options).await?;
    let kernel = Linux::open().context("open netlink sockets")?;
    let kernel = kernel
        .beside(presence::others(&options.host.run_dir))
        .with_attachments(records());
    Ok(Preview::of(&Reconciler::new(kernel).preview(&want)?))
}

/// The state that an agent would want if it were started now.
///
/// # Errors
/// If this node has no saved lease, or no uplink.
pub async fn wanted(options: &Options) -> Result<Desired> {
    let (state, lease) = saved_state(options)?;
    with_uplink(options, &state, &lease, |wanted| {
        let choice = uplink::choose(wanted)?;
        Ok((choice.uplink, choice.public))
    })
    .await
}

/// The state that the agent wanted last: with the uplink that it had, whatever has become of it.
///
/// # Errors
/// If this node has no saved lease; and where its uplink was not saved, no uplink.
pub async fn had(options: &Options) -> Result<Desired> {
    let (state, lease) = saved_state(options)?;
    let Some(run) = saved::run(&state) else {
        return wanted(options).await;
    };
    with_uplink(options, &state, &lease, |_| Ok(uplink_of(run))).await
}

fn uplink_of(run: SavedRun) -> (Uplink, Dual<IpAddr>) {
    let uplink = Uplink {
        name: run.uplink,
        index: 0,
        mtu: ANY_MTU,
        addrs: run.addrs,
        onlink: Vec::new(),
        learned_default: false,
    };
    (uplink, run.public)
}

/// Status of a node without an agent, in the form of an agent's; `silent` says why a running one isn't asked.
pub async fn status(options: &Options, silent: Option<&str>) -> Status {
    let mut status = Status::unknown(options);
    if let Ok((state, lease)) = saved_state(options) {
        status.subnets = lease.key.0;
        status.lease = Standing::Saved;
        let config = NetworkConfig::parse(&lease.config).ok();
        status.backend = config.map(|(config, _)| config.backend_type);
        if let Some(run) = saved::run(&state) {
            status.uplink = Some(run.uplink);
            status.public = run.public;
        }
    }
    let socket = options.host.socket.display();
    let nobody = || format!("no agent runs: nobody listens on {socket}");
    status.not_ready = vec![silent.map_or_else(nobody, str::to_owned)];
    status.silent = silent.is_some();
    status.pid = match status.silent {
        true => lock::held_by(&options.host.run_dir, &options.host.instance),
        false => None,
    };
    match preview(options).await {
        Ok(drift) => {
            let due = drift.puts.len() + drift.deletes.len();
            status.kernel.programmed = due == 0;
            if due > 0 {
                let reason = format!("{due} changes are due in the kernel, see `tweedd plan`");
                status.not_ready.push(reason);
            }
            status.drift = Some(drift);
        }
        Err(error) => status.not_ready.push(format!("{error:#}")),
    }
    status
}

fn saved_state(options: &Options) -> Result<(StateDir, SavedLease)> {
    let dir = &options.host.state_dir;
    if !dir.is_dir() {
        bail!(
            "no agent has run here: there is no {}; another one is named by --instance",
            dir.display()
        );
    }
    let state = StateDir::open(dir)?;
    let lease =
        saved::lease(&state).with_context(|| format!("no lease is saved in {}", dir.display()))?;
    Ok((state, lease))
}

async fn with_uplink(
    options: &Options,
    state: &StateDir,
    lease: &SavedLease,
    choose: impl FnOnce(&Wanted) -> Result<(Uplink, Dual<IpAddr>)>,
) -> Result<Desired> {
    let identity = saved::identity(state).context("no identity is saved")?;
    let cut_by = match &options.store {
        StoreOptions::Kube(_) => Subnets::Assigned,
        StoreOptions::Etcd(_) | StoreOptions::File { .. } => Subnets::Leased,
    };
    let (config, _) = NetworkConfig::parse_for(cut_by, &lease.config)?;
    let (backends, _) = Backends::parse(&config)?;
    let mut wanted = Wanted {
        options: options.uplink.clone(),
        overlay: Overlay::of(&config, &backends),
        known: Known {
            before: lease.known_by(),
            others: BTreeSet::new(),
        },
        overwrites: lease.overwrites,
    };
    for (family, wish) in lease.wishes.iter() {
        wanted.options.public.set(family, Some(*wish));
    }
    let (uplink, public) = choose(&wanted)?;
    let node = LocalNode {
        uplink,
        public,
        identity,
        subnets: lease.key.0,
        host: facts::read(&wanted.overlay, &BTreeSet::new())?.host,
    };
    let (peers, mut seniority) = saved::peers(state);
    let snapshot = snapshot(options, peers).await;
    seniority.follow(&snapshot);
    Ok(desired(
        &config,
        &backends,
        &node,
        &choices(options),
        &snapshot,
        &seniority,
    ))
}

/// The leases in the store, or else the saved peers.
async fn snapshot(options: &Options, peers: ClusterSnapshot) -> ClusterSnapshot {
    let listed = async {
        let store = Store::open(&options.store)?;
        anyhow::Ok(tokio::time::timeout(STORE_TIMEOUT, store.list()).await??)
    };
    match listed.await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "the store is out of reach, using the saved peers"
            );
            peers
        }
    }
}
