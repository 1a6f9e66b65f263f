//! What a node would want, worked out without an agent: from its saved lease, and from the store if that answers. Takes
//! no lease and changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tweed_overlay::backend::Backends;
use tweed_overlay::kernel::Linux;
use tweed_overlay::model::{ClusterSnapshot, LocalNode, NetworkConfig};
use tweed_overlay::plan::{Desired, desired};
use tweed_overlay::reconcile::Reconciler;
use tweed_overlay::store::LeaseStore;

use super::http::Preview;
use super::{choices, saved};
use crate::options::Options;
use crate::state_dir::StateDir;
use crate::store::Store;
use crate::uplink;

/// How long the store may take before the saved peers are used.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a pass would do.
///
/// # Errors
/// As [`wanted`], and when the kernel can't be read.
pub async fn preview(options: &Options) -> Result<Preview> {
    let want = wanted(options).await?;
    let kernel = Linux::open().context("open netlink sockets")?;
    Ok(Preview::of(&Reconciler::new(kernel).preview(&want)?))
}

/// The wanted state.
///
/// # Errors
/// If this node has no saved lease, or no uplink.
pub async fn wanted(options: &Options) -> Result<Desired> {
    let dir = &options.host.state_dir;
    if !dir.is_dir() {
        bail!(
            "no agent runs here, and none has run: there is no {}",
            dir.display()
        );
    }
    let state = StateDir::open(dir)?;
    let lease = saved::lease(&state).with_context(|| {
        format!(
            "no agent runs here, and no lease is saved in {}",
            dir.display()
        )
    })?;
    let identity = saved::identity(&state).context("no identity is saved")?;
    let (config, _) = NetworkConfig::parse(&lease.config)?;
    let (backends, _) = Backends::parse(&config)?;
    let mut wishes = options.uplink.clone();
    for (family, wish) in lease.wishes.iter() {
        wishes.public.set(family, Some(*wish));
    }
    let choice = uplink::choose(&wishes, &config.pools)?;
    let node = LocalNode {
        uplink: choice.uplink,
        public: choice.public,
        identity,
        subnets: lease.key.0,
    };
    let snapshot = snapshot(options, &state).await;
    Ok(desired(
        &config,
        &backends,
        &node,
        &choices(options),
        &snapshot,
    ))
}

async fn snapshot(options: &Options, state: &StateDir) -> ClusterSnapshot {
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
            saved::peers(state)
        }
    }
}
