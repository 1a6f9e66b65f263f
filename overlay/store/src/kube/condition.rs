//! What the cluster is told about the node's network: the condition `NetworkUnavailable`, taints that are to go once the
//! network works, and Events about what keeps the container runtime from using it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connect::Failure;
use super::events::Notice;
use super::network::Network;
use super::node::NodeRecord;
use super::own::{Own, Seen};
use crate::backoff::Backoff;
use crate::standing::Fight;
use crate::{Health, NodeReport, StoreError};

pub(super) async fn attend(network: &Network, mut report: watch::Receiver<NodeReport>) {
    let mut trouble = Backoff::default();
    let mut told = 0;
    loop {
        let Err(error) = watch_over(network, &mut report, &mut told).await;
        tracing::debug!(%error, "the node's condition can't be kept now");
        sleep(trouble.next()).await;
    }
}

async fn watch_over(
    network: &Network,
    report: &mut watch::Receiver<NodeReport>,
    told: &mut u64,
) -> Result<std::convert::Infallible, StoreError> {
    let mut own = network.own.subscribe().await?;
    let mut fight = Fight::default();
    let mut trouble = Backoff::default();
    loop {
        let now = report.borrow_and_update().clone();
        let seen = own.borrow_and_update().clone();
        let done = match seen {
            Own::There(Seen { node, .. }) => {
                warn(network, &node, &now).await;
                happened(network, &node, &now, told).await;
                tell(network, &node, &now.health, &mut fight).await
            }
            Own::Unread | Own::Absent | Own::Unsure(..) => Ok(()),
        };
        let limit = match done {
            Err(failure) if failure.code != 409 => {
                tracing::warn!(
                    error = failure.text,
                    "the node's condition can't be written"
                );
                Some(trouble.next())
            }
            _ => None,
        };
        let news = async {
            tokio::select! {
                _ = own.changed() => {}
                // Without a sender nothing more comes from there.
                gone = report.changed() => if gone.is_err() { std::future::pending::<()>().await },
            }
        };
        match limit {
            // Ends either way.
            Some(limit) => drop(timeout(limit, news).await),
            None => news.await,
        }
    }
}

async fn warn(network: &Network, node: &NodeRecord, report: &NodeReport) {
    let cni = report.cni_warnings.iter();
    let cni = cni.map(|note| ("CNIConfiguration", "InstallCNI", note));
    let host = report.host_warnings.iter();
    let host = host.map(|note| ("HostNetwork", "ForwardPackets", note));
    let peers = report.peer_warnings.iter();
    let peers = peers.map(|note| ("PeerUnreachable", "ProbePeers", note));
    for (reason, action, note) in cni.chain(host).chain(peers) {
        let notice = Notice {
            warning: true,
            reason,
            action,
            note,
        };
        network.tell(node, &notice).await;
    }
}

/// Tells what has happened since the event with the number `told`.
async fn happened(network: &Network, node: &NodeRecord, report: &NodeReport, told: &mut u64) {
    let news = report.events.iter().filter(|event| event.number > *told);
    let mut last = *told;
    for event in news {
        let notice = Notice {
            warning: event.warning,
            reason: event.reason,
            action: "KeepNetwork",
            note: &event.note,
        };
        network.tell(node, &notice).await;
        last = event.number;
    }
    *told = last;
}

async fn tell(
    network: &Network,
    node: &NodeRecord,
    health: &Health,
    fight: &mut Fight,
) -> Result<(), Failure> {
    let mut repaired = false;
    if network.options.set_condition
        && let Some(condition) = condition(node, health)
    {
        fight.pause().await;
        repaired = true;
        tracing::info!(node = node.name(), condition = %condition["status"], "setting NetworkUnavailable");
        let patch =
            json!({ "metadata": {"uid": node.uid()}, "status": { "conditions": [condition] } });
        network
            .patch_status(&node.name(), &Patch::Strategic(patch))
            .await?;
    }
    if *health == Health::Up
        && let Some(taints) = remaining(&node.taints, &network.options.remove_taints)
    {
        if !repaired {
            fight.pause().await;
        }
        tracing::info!(node = node.name(), "the network works, removing taints");
        let patch = json!({
            // The list is replaced whole: not if somebody else has changed it.
            "metadata": { "uid": node.uid(), "resourceVersion": node.resource_version() },
            "spec": { "taints": taints },
        });
        network.patch(&node.name(), &Patch::Merge(patch)).await?;
    }
    Ok(())
}

/// The condition to be written, if what stands there isn't right.
fn condition(node: &NodeRecord, health: &Health) -> Option<Value> {
    let (status, reason, message) = match health {
        Health::Unknown => return None,
        Health::Up => (
            "False",
            "TweedIsUp",
            "Tweed has programmed the network of this node".to_owned(),
        ),
        Health::Down { reason } => ("True", "TweedIsDown", reason.clone()),
    };
    let stands = node.network_unavailable.as_ref();
    if stands.is_some_and(|there| there.status == status) {
        return None;
    }
    let now = Time(Timestamp::now());
    Some(json!({
        "type": "NetworkUnavailable", "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }))
}

/// The taints that stay; `None` if all of them do.
fn remaining(taints: &[Value], unwanted: &[String]) -> Option<Vec<Value>> {
    let goes = |taint: &&Value| {
        let key = taint.get("key").and_then(Value::as_str);
        key.is_some_and(|key| unwanted.iter().any(|unwanted| unwanted == key))
    };
    let stay: Vec<Value> = taints
        .iter()
        .filter(|taint| !goes(taint))
        .cloned()
        .collect();
    (stay.len() < taints.len()).then_some(stay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(status: Option<&str>) -> NodeRecord {
        let conditions: Vec<_> = status
            .map(
                |status| json!({"type": "NetworkUnavailable", "status": status, "reason": "Other"}),
            )
            .into_iter()
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "n"}, "status": {"conditions": conditions}
        }))
        .unwrap()
    }

    #[test]
    fn the_condition_is_written_only_when_it_says_something_else() {
        let down = Health::Down {
            reason: "why".into(),
        };
        for (stands, health, written) in [
            (None, Health::Unknown, None),
            (Some("True"), Health::Unknown, None),
            (None, Health::Up, Some("False")),
            (Some("True"), Health::Up, Some("False")),
            (Some("False"), Health::Up, None),
            (Some("False"), down.clone(), Some("True")),
            (Some("True"), down, None),
        ] {
            let found = condition(&node(stands), &health);
            let found = found
                .as_ref()
                .map(|found| found["status"].as_str().unwrap());
            assert_eq!(found, written, "{stands:?} {health:?}");
        }
    }

    #[test]
    fn only_the_named_taints_go() {
        let taints = [
            json!({"key": "a", "effect": "NoSchedule"}),
            json!({"key": "b"}),
        ];
        assert_eq!(
            remaining(&taints, &["b".to_owned()]),
            Some(vec![taints[0].clone()])
        );
        assert_eq!(remaining(&taints, &["c".to_owned()]), None);
        assert_eq!(remaining(&taints, &[]), None);
    }
}
