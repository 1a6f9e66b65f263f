//! Keeping the own lease: the annotations are put back whenever they differ, and the session ends when Kubernetes
//! assigns another subnet.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep, timeout};
use tweed_model::admit::no_node;
use tweed_model::annotations::{self, Annotations};
use tweed_model::{Dual, Family, Lease, LeaseAttrs};

use super::assign::none;
use super::connect::Failure;
use super::network::Network;
use super::node::NodeRecord;
use super::own::Own;
use crate::backoff::{Backoff, jittered};
use crate::standing::{Fight, say, say_lost, say_unsure};
use crate::{Ended, Held, Holding, StoreError};

/// A write that failed is tried again after this at the latest, even if the Node does not change.
const RETRY: Duration = Duration::from_secs(30);

/// A lease that Kubernetes has assigned.
pub struct KubeHeld {
    pub(super) network: Arc<Network>,
    pub(super) lease: Lease,
    /// The addresses that the Node's annotations asked for.
    pub(super) wishes: Dual<IpAddr>,
}

impl fmt::Debug for KubeHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KubeHeld").field(&self.lease).finish()
    }
}

impl Held for KubeHeld {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn keep(self, standing: Sender<Holding>) -> Ended {
        let mut trouble = Backoff::default();
        loop {
            match hold(&self, &standing).await {
                Ok(reason) => return Ended::Changed(reason),
                Err(error) => {
                    say_unsure(&standing, error, Instant::now());
                    sleep(trouble.next()).await;
                }
            }
        }
    }
}

/// Ends with the reason for which another lease must be acquired.
async fn hold(held: &KubeHeld, standing: &Sender<Holding>) -> Result<String, StoreError> {
    let network = &held.network;
    let mut own = network.own.subscribe().await?;
    let mut fight = Fight::default();
    let mut trouble = Backoff::default();
    loop {
        let now = own.borrow_and_update().clone();
        let mut again = None;
        match now {
            Own::Unread => {}
            Own::Absent => say_lost(
                standing,
                "the Node was deleted; waiting until it is registered again".to_owned(),
            ),
            Own::Unsure(reason, _) => say_unsure(standing, reason, Instant::now()),
            Own::There(seen) => {
                let node = &seen.node;
                if let Some(reason) = moved(held, node) {
                    return Ok(reason);
                }
                if node.pod_cidrs.is_empty() {
                    // Registered anew, and none is left.
                    let reason = network.refuse(&seen, none(node)).await.to_string();
                    say(standing, Holding::Lost { reason });
                } else {
                    match settle(network, node, &held.lease.attrs, Some(&mut fight)).await {
                        Ok(()) => say(standing, Holding::Held),
                        // Another writer was quicker: the watch reports it.
                        Err(failure) if failure.code == 409 => {}
                        Err(failure) => {
                            say_unsure(standing, failure.text, Instant::now());
                            again = Some(trouble.next());
                        }
                    }
                }
            }
        }
        let limit = again.unwrap_or(RETRY * 1000);
        // Ends either way: the watch's sender lives as long as the network.
        let _ = timeout(
            limit.max(jittered(Duration::from_millis(100))),
            own.changed(),
        )
        .await;
    }
}

/// Why the lease is no longer what Kubernetes assigns.
fn moved(held: &KubeHeld, node: &NodeRecord) -> Option<String> {
    let (lease, options) = (&held.lease, &held.network.options);
    let found = annotations::wishes(&options.prefix, node.annotations()).addrs;
    if found != held.wishes {
        return Some("the annotations node-public-ip of the Node changed".to_owned());
    }
    if node.pod_cidrs.is_empty() {
        return None;
    }
    let subnets = node.subnets().ok()?;
    let same = |family: Family| {
        lease
            .key
            .0
            .get(family)
            .is_none_or(|net| subnets.get(family) == Some(net))
    };
    (!Family::BOTH.into_iter().all(same)).then(|| {
        format!(
            "the podCIDR of the Node is {} now, it was {}",
            node.pod_cidrs.join(", "),
            lease.key
        )
    })
}

/// Sees to it that the node's annotations say what they should.
pub(super) async fn settle(
    network: &Network,
    node: &NodeRecord,
    attrs: &LeaseAttrs,
    fight: Option<&mut Fight>,
) -> Result<(), Failure> {
    let prefix = &network.options.prefix;
    let wanted = wanted(network, node, attrs);
    let changes = annotations::changes(prefix, &wanted, node.annotations());
    if changes.is_empty() {
        return Ok(());
    }
    if let Some(fight) = fight {
        let keys: Vec<_> = changes.keys().map(String::as_str).collect();
        tracing::info!(
            node = node.name(),
            changed = keys.join(" "),
            "restoring the annotations of the own Node"
        );
        fight.pause().await;
    }
    let patch = json!({
        // Not of a Node that was made anew in the meantime, which may have another subnet.
        "metadata": { "uid": node.uid(), "annotations": changes },
    });
    network
        .patch_status(&node.name(), &kube::api::Patch::Merge(patch))
        .await
}

fn wanted(network: &Network, node: &NodeRecord, attrs: &LeaseAttrs) -> Annotations {
    let prefix = &network.options.prefix;
    let overwrites = annotations::overwrites(prefix, node.annotations());
    for wrong in &overwrites.wrong {
        tracing::warn!(node = node.name(), %wrong, "ignored");
    }
    let mut attrs = attrs.clone();
    let pools = network.pools();
    for (family, addr) in overwrites.addrs.iter() {
        if let Some(why) = no_node(&pools, addr) {
            tracing::error!(
                node = node.name(), %addr, why,
                "annotation public-ip-overwrite: no node can be reached at this address; not announced"
            );
            continue;
        }
        // There is nothing to be announced for a family that the node doesn't have.
        if attrs.public.has(family) {
            attrs.public.set(family, Some(*addr));
        }
    }
    annotations::render(prefix, &attrs)
}
