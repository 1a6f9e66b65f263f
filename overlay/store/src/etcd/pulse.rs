//! Whether a member of etcd still answers. Its streams are silent while nothing changes, and so is a machine that has
//! lost its power: a member that has said nothing for a while is asked something small.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::GetOptions;
use tokio::time::{Instant, sleep_until, timeout};

use super::Etcd;
use super::client::{self, Member};
use crate::StoreError;

const WHAT: &str = "ask for a sign of life";

/// When something was heard last: over one connection, and over any.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    here: Arc<Mutex<Instant>>,
    anywhere: Arc<Mutex<Option<Instant>>>,
}

impl Heard {
    /// That of a new connection.
    pub(super) fn new(anywhere: &Arc<Mutex<Option<Instant>>>) -> Self {
        Self {
            here: Arc::new(Mutex::new(Instant::now())),
            anywhere: Arc::clone(anywhere),
        }
    }

    /// An answer has come.
    pub(super) fn now(&self) {
        let now = Instant::now();
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = now;
        *self.anywhere.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn last(&self) -> Instant {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the two that follow streams share a pulse: who asks first asks for both.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    First,
    Second,
}

/// Ends when a member was asked and gave no answer. A read from the memory of the member itself costs etcd 85 µs, and
/// needs no other member. Streams end by themselves when their member has no leader.
pub(super) async fn until_silent(store: &Etcd, member: &Member, turn: Turn) -> StoreError {
    let cluster = &store.cluster;
    let pulse = cluster.pulse();
    let every = match turn {
        Turn::First => pulse,
        Turn::Second => pulse + pulse / 4,
    };
    loop {
        let due = member.heard.last() + every;
        if Instant::now() < due {
            sleep_until(due).await;
            continue;
        }
        let little = GetOptions::new().with_serializable().with_count_only();
        let mut kv = client::kv(&member.client);
        match timeout(pulse, kv.get(store.keys.config(), Some(little))).await {
            Ok(Ok(_)) => member.heard.now(),
            Ok(Err(error)) => return cluster.stream_failed(member, WHAT, &error),
            Err(_) => return cluster.stream_silent(member, WHAT, silence(member)),
        }
    }
}

fn silence(member: &Member) -> Duration {
    member.heard.last().elapsed()
}
