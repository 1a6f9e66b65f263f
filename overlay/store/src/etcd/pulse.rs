//! Whether a member of etcd still answers. Its streams are silent while nothing changes, and so is a machine that has
//! lost its power: a member that has said nothing for a while is asked something small.

use etcd_client::GetOptions;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{self, Member};
use super::network::Network;
use crate::StoreError;

const WHAT: &str = "ask for a sign of life";

/// How the two that follow streams share a pulse: who asks first asks for both.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    First,
    Second,
}

/// Ends when a member was asked and gave no answer. A read from the memory of the member itself costs etcd 85 µs, and
/// needs no other member. Streams end by themselves when their member has no leader.
pub(super) async fn until_silent(network: &Network, member: &Member, turn: Turn) -> StoreError {
    let cluster = &network.cluster;
    let pulse = cluster.pulse();
    let every = match turn {
        Turn::First => pulse,
        Turn::Second => pulse + pulse / 4,
    };
    loop {
        let due = member.last_answer.last() + every;
        if Instant::now() < due {
            sleep_until(due).await;
            continue;
        }
        let little = GetOptions::new().with_serializable().with_count_only();
        let mut kv = client::kv(&member.client);
        match timeout(pulse, kv.get(network.keys.config(), Some(little))).await {
            Ok(Ok(_)) => member.last_answer.now(),
            Ok(Err(error)) => return cluster.stream_failed(member, WHAT, &error),
            Err(_) => {
                return cluster.stream_silent(member, WHAT, member.last_answer.last().elapsed());
            }
        }
    }
}
