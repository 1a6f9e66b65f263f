//! The test itself: tells all responders to probe, and gathers what they saw.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;
use tweed_host::random;

use super::judge::{Row, Survey};
use super::key::Key;
use super::plan::{Cluster, Endpoint};
use super::probe::ROUND;
use super::protocol::{Answer, Ask};
use super::wire;

/// For a question that takes no time.
const SHORT: Duration = Duration::from_secs(5);

/// What it takes to ask.
struct Caller {
    cluster: Cluster,
    key: Key,
    port: u16,
}

/// Has all responders probe each other, at most `peers` other nodes each.
///
/// # Errors
/// If there is nobody to ask.
pub async fn survey(cluster: Cluster, key: Key, port: u16, peers: usize) -> Result<Survey> {
    ensure!(
        cluster.endpoints.len() <= usize::from(u16::MAX),
        "more than {} responders",
        u16::MAX
    );
    if cluster.endpoints.is_empty() {
        bail!("there are no responders to ask: {}", reasons(&cluster));
    }
    let run = random::bits();
    let rounds = cluster.rounds(run, peers);
    let caller = Arc::new(Caller { cluster, key, port });
    let rows = each(&caller, |caller, index| {
        let ask = Ask::Probe(rounds[index].clone());
        async move {
            match caller.ask(index, ask).await {
                Ok(Answer::Probed(observations)) => Row::Asked(observations),
                Ok(other) => Row::Unasked(wire::unexpected(&other).to_string()),
                Err(reason) => Row::Unasked(reason),
            }
        }
    })
    .await;
    let arrivals = each(&caller, |caller, index| async move {
        match caller.ask(index, Ask::Arrivals(run)).await {
            Ok(Answer::Arrivals(arrivals)) => Some(arrivals),
            _ => None,
        }
    })
    .await;
    Ok(Survey {
        cluster: caller.cluster.clone(),
        peers,
        rows,
        arrivals,
    })
}

fn reasons(cluster: &Cluster) -> String {
    let missing = cluster.missing.iter();
    let reasons: Vec<_> = missing
        .map(|(node, _, reason)| format!("{node}: {reason}"))
        .collect();
    match reasons.is_empty() {
        true => "no pod of theirs runs (is the DaemonSet there?)".to_owned(),
        false => reasons.join("; "),
    }
}

/// Does something for each responder at once, and gives the results in their order.
async fn each<T, F>(caller: &Arc<Caller>, mut work: impl FnMut(Arc<Caller>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for index in 0..caller.cluster.endpoints.len() {
        let task = work(Arc::clone(caller), index);
        tasks.spawn(async move { (index, task.await) });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

impl Caller {
    /// Asks a responder: straight, or by way of the other one on its node, to which another network leads.
    async fn ask(&self, index: usize, ask: Ask) -> Result<Answer, String> {
        let endpoint = &self.cluster.endpoints[index];
        let mut reason = match self.find(endpoint).await {
            Ok(addr) => return self.put(addr, &ask).await,
            Err(reason) => reason,
        };
        let Some(sibling) = self.cluster.sibling(index) else {
            return Err(reason);
        };
        let Ok(sibling) = self.find(&self.cluster.endpoints[sibling]).await else {
            return Err(reason);
        };
        for addr in &endpoint.addrs {
            match self
                .put(sibling, &Ask::Relay(*addr, Box::new(ask.clone())))
                .await
            {
                Ok(Answer::Refused(refusal)) | Err(refusal) => {
                    reason = format!("{reason}; by way of {sibling}: {refusal}");
                }
                Ok(answer) => return Ok(answer),
            }
        }
        Err(reason)
    }

    /// An address of a responder that answers from here.
    async fn find(&self, endpoint: &Endpoint) -> Result<IpAddr, String> {
        let mut reasons = Vec::new();
        for addr in &endpoint.addrs {
            let to = SocketAddr::new(*addr, self.port);
            match wire::ask(to, &self.key, &Ask::Hello, SHORT).await {
                Ok(_) => return Ok(*addr),
                Err(error) => reasons.push(format!("{to}: {error}")),
            }
        }
        Err(reasons.join("; "))
    }

    async fn put(&self, addr: IpAddr, ask: &Ask) -> Result<Answer, String> {
        let to = SocketAddr::new(addr, self.port);
        let limit = ROUND + SHORT;
        let answered = wire::ask(to, &self.key, ask, limit).await;
        answered
            .map(|answered| answered.answer)
            .map_err(|error| format!("{to}: {error}"))
    }
}
