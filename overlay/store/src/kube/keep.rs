//! Keeping the own lease: the annotations are put back whenever they differ, and the session ends when Kubernetes
//! assigns another subnet.

use std::convert::Infallible;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;
use tokio::sync::watch::Sender;
use tokio::time::{sleep, timeout};
use tweed_model::admit::no_node;
use tweed_model::annotations::{self, Annotations};
use tweed_model::{Dual, Family, Lease, LeaseAttrs};

use super::assign::none;
use super::connect::Failure;
use super::node::NodeRecord;
use super::own::Own;
use super::{KubeStore, USUAL_DELAY};
use crate::backoff::{Backoff, jittered};
use crate::standing::{Fight, say, say_lost};
use crate::{Ended, Holding, StoreError};

/// A write that failed is tried again after this at the latest, even if nothing is heard of the Node.
const RETRY: Duration = Duration::from_secs(30);

pub(super) async fn keep(store: &KubeStore, lease: &Lease, standing: &Sender<Holding>) -> Ended {
    let mut trouble = Backoff::default();
    loop {
        match hold(store, lease, standing).await {
            Ok(Err(reason)) => return Ended::Changed(reason),
            Ok(Ok(never)) => match never {},
            Err(error) => {
                say(
                    standing,
                    Holding::Unsure {
                        reason: error.to_string(),
                    },
                );
                sleep(trouble.next()).await;
            }
        }
    }
}

/// Ends with the reason for which another lease must be acquired.
async fn hold(
    store: &KubeStore,
    lease: &Lease,
    standing: &Sender<Holding>,
) -> Result<Result<Infallible, String>, StoreError> {
    let mut own = store.own.subscribe().await?;
    let wishes = store.wishes();
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
            Own::Unsure(reason, _) => say(standing, Holding::Unsure { reason }),
            Own::There(node) => {
                if let Some(reason) = moved(store, lease, &node, &wishes) {
                    return Ok(Err(reason));
                }
                if node.pod_cidrs.is_empty() {
                    // Registered anew, and none is left. It is looked at again to find out more.
                    let reason = store.refuse(&node, none(&node)).await.to_string();
                    say(standing, Holding::Lost { reason });
                    again = Some(USUAL_DELAY);
                } else {
                    store.assigned();
                    match settle(store, &node, &lease.attrs, Some(&mut fight)).await {
                        Ok(()) => say(standing, Holding::Held),
                        // Somebody else was quicker, which will be heard of.
                        Err(failure) if failure.code == 409 => {}
                        Err(failure) => {
                            let reason = failure.text;
                            say(standing, Holding::Unsure { reason });
                            again = Some(trouble.next());
                        }
                    }
                }
            }
        }
        let patience = again.unwrap_or(RETRY * 1000);
        // Ends either way: the watch's sender lives as long as the store.
        let _ = timeout(
            patience.max(jittered(Duration::from_millis(100))),
            own.changed(),
        )
        .await;
    }
}

/// Why the lease is no longer what Kubernetes assigns.
fn moved(
    store: &KubeStore,
    lease: &Lease,
    node: &NodeRecord,
    wishes: &Dual<std::net::IpAddr>,
) -> Option<String> {
    let found = annotations::wishes(&store.options.prefix, node.annotations()).addrs;
    if found != *wishes {
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
    store: &KubeStore,
    node: &NodeRecord,
    attrs: &LeaseAttrs,
    fight: Option<&mut Fight>,
) -> Result<(), Failure> {
    let prefix = &store.options.prefix;
    let wanted = wanted(store, node, attrs);
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
    store
        .patch_status(&node.name(), &kube::api::Patch::Merge(patch))
        .await
}

fn wanted(store: &KubeStore, node: &NodeRecord, attrs: &LeaseAttrs) -> Annotations {
    let prefix = &store.options.prefix;
    let overwrites = annotations::overwrites(prefix, node.annotations());
    for wrong in &overwrites.wrong {
        tracing::warn!(node = node.name(), %wrong, "ignored");
    }
    let mut attrs = attrs.clone();
    let pools = store.pools();
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
