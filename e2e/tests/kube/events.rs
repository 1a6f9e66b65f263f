//! What Kubernetes tells operators about nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::kube::{ApiServer, cluster};
use tweed_lab::wait::timed;

/// Long enough for an Event that is made after a second look.
const SAID: Duration = Duration::from_secs(40);

/// Waits for an Event about a node with this reason and this text in its message.
pub(crate) fn said(api: &ApiServer<'_>, node: &str, reason: &str, text: &str) -> Result<()> {
    timed("the Event is there", SAID, || {
        let events = api.get(&["events", "--namespace=default"])?;
        let found = cluster::items(&events).any(|event| {
            event["involvedObject"]["name"] == node
                && event["reason"] == reason
                && event["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
        });
        ensure!(found, "{events}");
        Ok(())
    })
    .map(drop)
}

/// Waits until the condition `NetworkUnavailable` of a node has this status; gives it, and the time that took.
pub(crate) fn unavailable(
    api: &ApiServer<'_>,
    node: &str,
    status: &str,
    limit: Duration,
) -> Result<(Value, Duration)> {
    let what = format!("NetworkUnavailable of {node} is {status}");
    timed(&what, limit, || {
        let node = api.get(&["node", node])?;
        let found = cluster::condition(&node, "NetworkUnavailable").context("not there")?;
        ensure!(found["status"] == status, "{found}");
        Ok(found.clone())
    })
}
