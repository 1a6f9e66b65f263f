//! Watches over one connection: opened within a deadline, and each message checked.

use std::future::Future;

use etcd_client::{Error, WatchResponse, WatchStream};
use tokio::time::timeout;

use super::client::{Cluster, Member};
use crate::StoreError;

/// Opens a watch; `what` it is for.
pub(super) async fn open(
    (cluster, member): (&Cluster, &Member),
    what: &str,
    opening: impl Future<Output = Result<WatchStream, Error>>,
) -> Result<WatchStream, StoreError> {
    match timeout(cluster.timeout(), opening).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(cluster.stream_failed(member, what, &error)),
        Err(_) => Err(cluster.stream_ended(member, what, "didn't answer")),
    }
}

/// A message of a watch, unless it is its end.
pub(super) fn checked(
    (cluster, member): (&Cluster, &Member),
    what: &str,
    message: Result<Option<WatchResponse>, Error>,
) -> Result<WatchResponse, StoreError> {
    let ended = |why: &str| Err(cluster.stream_ended(member, what, why));
    match message {
        Ok(Some(response)) if response.compact_revision() != 0 => {
            ended("has compacted changes that we had not seen yet")
        }
        Ok(Some(response)) if response.canceled() => {
            ended(&format!("ended the watch ({})", response.cancel_reason()))
        }
        Ok(Some(response)) => {
            member.last_answer.now();
            Ok(response)
        }
        Ok(None) => ended("closed the connection"),
        Err(error) => Err(cluster.stream_failed(member, what, &error)),
    }
}
