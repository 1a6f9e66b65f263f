//! `tweedd leases`: what the store holds of all nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use ipnet::IpNet;
use serde::Serialize;
use tweed_model::lease::Term;
use tweed_model::shown::shown;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey};
use tweed_store::LeaseStore;

use crate::config::cli::Output;
use crate::store::Store;

use super::{print, table};

/// How soon a node that is alive takes its lease back.
const A_MOMENT: Duration = Duration::from_secs(1);

/// A lease for people and scripts.
#[derive(Debug, Serialize)]
struct Row {
    key: String,
    subnets: Vec<String>,
    public: Vec<String>,
    backend: String,
    data: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    term: Term,
    /// Without another renewal, where the store knows such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    created: u64,
}

#[derive(Debug, Serialize)]
struct Listing {
    leases: Vec<Row>,
    /// Entries that can't be read, by key.
    broken: BTreeMap<String, String>,
}

/// `tweedd leases list`.
///
/// # Errors
/// If the store can't be read.
pub async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let snapshot = store.list().await?;
    let listing = Listing::of(snapshot, &store.time_left().await?);
    print::print(output, &listing, || listing.words())
}

/// `tweedd leases release`.
///
/// # Errors
/// If one of the leases isn't there, by name; those before it are released then.
pub async fn release(
    store: &impl LeaseStore,
    leases: &[String],
    output: Output,
) -> anyhow::Result<()> {
    let snapshot = store.list().await?;
    let mut keys = leases
        .iter()
        .map(|text| key(text, &snapshot))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Both subnets of one lease name it twice.
    keys.dedup();
    for key in &keys {
        store.release(key).await?;
    }
    let back = taken_back(store, &keys).await?;
    let text = |keys: &[SubnetKey]| keys.iter().map(ToString::to_string).collect();
    let (released, taken_back): (Vec<String>, Vec<String>) = (text(&keys), text(&back));
    let words = || {
        let line = |key: &String| match taken_back.contains(key) {
            false => format!("released {key}\n"),
            true => format!(
                "released {key}, and its node, whose agent runs, has taken it back; to retire the node stop its agent first\n"
            ),
        };
        released.iter().map(line).collect()
    };
    let json = serde_json::json!({ "released": released, "taken_back": taken_back });
    print::print(output, &json, words)
}

/// Which of these leases stand in the store again a moment later: an agent that runs puts its own back at once.
async fn taken_back(store: &impl LeaseStore, keys: &[SubnetKey]) -> anyhow::Result<Vec<SubnetKey>> {
    let began = Instant::now();
    loop {
        let snapshot = store.list().await?;
        let back = keys.iter().filter(|key| snapshot.leases.contains_key(key));
        let back: Vec<SubnetKey> = back.copied().collect();
        if back.len() == keys.len() || began.elapsed() >= A_MOMENT {
            return Ok(back);
        }
        tokio::time::sleep(A_MOMENT / 10).await;
    }
}

/// The lease that is meant, by anything that the list says of it: its key, subnets, public address or node.
fn key(text: &str, snapshot: &ClusterSnapshot) -> anyhow::Result<SubnetKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let nets: Option<Vec<IpNet>> = words.iter().map(|word| word.parse().ok()).collect();
    let addrs: Option<Vec<IpAddr>> = words.iter().map(|word| word.parse().ok()).collect();
    let leases = snapshot.leases.values();
    let mut meant: Vec<SubnetKey> = leases
        .filter(|lease| {
            let subnets = |net: &IpNet| lease.key.0.values().any(|own| own.trunc() == net.trunc());
            let public = |addr: &IpAddr| lease.attrs.public.values().any(|own| own == addr);
            let nets = nets.iter().flatten();
            let addrs = addrs.iter().flatten();
            is_all(nets, subnets) || is_all(addrs, public) || lease.node.as_deref() == Some(text)
        })
        .map(|lease| lease.key)
        .collect();
    if meant.len() > 1 {
        // Beside a lease, what is only reserved for its node isn't meant.
        let taken = |key: &SubnetKey| {
            let lease = snapshot.leases.get(key);
            lease.is_some_and(|lease| lease.term == Term::Leased || !lease.attrs.data.is_empty())
        };
        if meant.iter().any(taken) {
            meant.retain(taken);
        }
    }
    match (&meant[..], nets) {
        ([key], _) => Ok(*key),
        ([], Some(nets)) if !nets.is_empty() => {
            bail!("no lease in the store has the subnet {text}")
        }
        ([], _) if let Some(lease) = around(&addrs, snapshot) => bail!(
            "{text} is an address within the lease {}: name that",
            lease.key
        ),
        ([], _) => bail!(
            "{text:?} is no lease in the store: give what `tweedd leases list` prints of one, its subnet (10.244.3.0/24), public address or node, or its key (10.244.3.0-24)"
        ),
        (several, _) => {
            let keys: Vec<String> = several.iter().map(ToString::to_string).collect();
            bail!("{text} has several leases, name one: {}", keys.join(", "))
        }
    }
}

/// The lease in which one address lies.
fn around<'a>(addrs: &Option<Vec<IpAddr>>, snapshot: &'a ClusterSnapshot) -> Option<&'a Lease> {
    let [addr] = addrs.as_deref()? else {
        return None;
    };
    let mut leases = snapshot.leases.values();
    let found = leases.find(|lease| lease.key.0.values().any(|net| net.contains(addr)));
    found.map(std::sync::Arc::as_ref)
}

/// Whether there are some, and all are so.
fn is_all<'a, T: 'a>(given: impl Iterator<Item = &'a T>, so: impl Fn(&T) -> bool) -> bool {
    let mut given = given.peekable();
    given.peek().is_some() && given.all(so)
}

impl Listing {
    fn of(snapshot: ClusterSnapshot, left: &BTreeMap<SubnetKey, Duration>) -> Self {
        let row = |lease: &std::sync::Arc<Lease>| Row {
            seconds_left: left.get(&lease.key).map(Duration::as_secs),
            ..Row::of(lease)
        };
        Self {
            leases: snapshot.leases.values().map(row).collect(),
            broken: snapshot.broken,
        }
    }

    fn words(&self) -> String {
        let header = ["SUBNETS", "PUBLIC", "BACKEND", "TERM", "LEFT", "NODE"].map(str::to_owned);
        let rows = self.leases.iter().map(|row| {
            let term = match row.term {
                Term::Leased => "leased",
                Term::Reserved => "reserved",
            };
            [
                row.subnets.join(" "),
                row.public.join(" "),
                row.backend_words(),
                term.to_owned(),
                row.seconds_left.map_or_else(String::new, duration),
                row.node.clone().unwrap_or_default(),
            ]
        });
        let mut text = match self.leases.is_empty() {
            true => "no leases\n".to_owned(),
            false => table::render(std::iter::once(header).chain(rows), &[4, 5]),
        };
        for (key, reason) in &self.broken {
            text += &format!("unreadable: {key}: {reason}\n");
        }
        text
    }
}

/// In the two largest units.
fn duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match hours {
        0 if minutes == 0 => format!("{seconds} s"),
        0 => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {} min", minutes % 60),
    }
}

impl Row {
    /// flannel's leases with backend `udp` name none.
    fn backend_words(&self) -> String {
        match (self.backend.is_empty(), self.term) {
            (true, Term::Leased) => "udp".to_owned(),
            _ => self.backend.clone(),
        }
    }

    fn of(lease: &Lease) -> Self {
        Self {
            key: lease.key.to_string(),
            subnets: lease.key.0.values().map(ToString::to_string).collect(),
            public: lease
                .attrs
                .public
                .values()
                .map(ToString::to_string)
                .collect(),
            backend: shown(&lease.attrs.backend_type).into_owned(),
            data: serde_json::json!(lease.attrs.data),
            node: lease.node.clone(),
            term: lease.term,
            seconds_left: None,
            created: lease.created,
        }
    }
}

#[cfg(test)]
mod tests;
