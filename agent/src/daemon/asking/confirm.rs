//! Another pod network moves every node and costs every pod its address: it is read twice before it is taken, and logged
//! as a warning.

use std::time::Duration;

use ipnet::IpNet;
use tweed_model::{NetworkConfig, Subnets};
use tweed_store::LeaseStore;

use crate::files::state_dir::SavedLease;

/// Between the two readings.
const PAUSE: Duration = Duration::from_secs(3);

/// Waits for a second reading of a configuration whose networks are not those of the saved lease, unless that has been
/// `confirmed` already; gives what is confirmed then.
///
/// # Errors
/// When the second one says something else: both are read again.
pub(super) async fn changed_network<S: LeaseStore>(
    store: &S,
    saved: Option<&SavedLease>,
    text: &str,
    confirmed: Option<String>,
) -> Result<Option<String>, String> {
    let Some(saved) = saved.filter(|_| confirmed.as_deref() != Some(text)) else {
        return Ok(confirmed);
    };
    let (before, now) = (networks_in(&saved.config), networks_in(text));
    // A family that comes or goes leaves the other's pods alone.
    let kept = before.iter().any(|network| now.contains(network));
    if before.is_empty() || kept || before == now {
        return Ok(confirmed);
    }
    tokio::time::sleep(PAUSE).await;
    let second = store.config().await.map_err(|error| error.to_string())?;
    if second != text {
        return Err(format!(
            "the network configuration named {} and no longer does; reading it again",
            join(&now)
        ));
    }
    tracing::warn!(
        old = join(&before),
        new = join(&now),
        lease = %saved.key,
        "the pod network changes: this node takes another subnet. Pods that run keep addresses of the old network, which \
         other nodes no longer reach: make them anew. Put the old network back to undo this: the old subnets are asked \
         for first"
    );
    Ok(Some(text.to_owned()))
}

fn join(networks: &[IpNet]) -> String {
    let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The pod networks of a configuration, with either kind of subnets.
pub fn networks_in(text: &str) -> Vec<IpNet> {
    let config = NetworkConfig::parse_for(Subnets::Assigned, text).ok();
    let pools = config.map(|(config, _)| config.pools).unwrap_or_default();
    pools.values().map(|pool| pool.network).collect()
}
