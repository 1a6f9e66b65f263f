//! `tweedd leases`: what the store holds of all nodes.

use std::collections::BTreeMap;

use anyhow::bail;
use ipnet::IpNet;
use serde::Serialize;
use tweed_overlay::model::lease::Term;
use tweed_overlay::model::{ClusterSnapshot, Lease, SubnetKey};
use tweed_overlay::store::LeaseStore;

use crate::cli::Output;

use super::{print, table};

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
pub async fn list(store: &impl LeaseStore, output: Output) -> anyhow::Result<()> {
    let listing = Listing::of(store.list().await?);
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
    let keys = leases
        .iter()
        .map(|text| key(text, &snapshot))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for key in &keys {
        store.release(key).await?;
    }
    let released: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let words = || {
        released
            .iter()
            .map(|key| format!("released {key}\n"))
            .collect()
    };
    print::print(output, &serde_json::json!({ "released": released }), words)
}

/// The lease that is meant: by its key, or by one of its subnets.
fn key(text: &str, snapshot: &ClusterSnapshot) -> anyhow::Result<SubnetKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let Ok(net) = text.parse::<IpNet>() else {
        bail!(
            "{text:?} is neither a lease such as 10.244.3.0-24 nor a subnet such as 10.244.3.0/24"
        );
    };
    let meant = |key: &&SubnetKey| key.0.values().any(|subnet| subnet.trunc() == net.trunc());
    match snapshot.leases.keys().find(meant) {
        Some(key) => Ok(*key),
        None => bail!("no lease in the store has the subnet {net}"),
    }
}

impl Listing {
    fn of(snapshot: ClusterSnapshot) -> Self {
        Self {
            leases: snapshot
                .leases
                .values()
                .map(|lease| Row::of(lease))
                .collect(),
            broken: snapshot.broken,
        }
    }

    fn words(&self) -> String {
        let header = ["SUBNETS", "PUBLIC", "BACKEND", "TERM", "NODE"].map(str::to_owned);
        let rows = self.leases.iter().map(|row| {
            let term = match row.term {
                Term::Leased => "leased",
                Term::Reserved => "reserved",
            };
            [
                row.subnets.join(" "),
                row.public.join(" "),
                row.backend.clone(),
                term.to_owned(),
                row.node.clone().unwrap_or_default(),
            ]
        });
        let mut text = match self.leases.is_empty() {
            true => "no leases\n".to_owned(),
            false => table::render(std::iter::once(header).chain(rows)),
        };
        for (key, reason) in &self.broken {
            text += &format!("unreadable: {key}: {reason}\n");
        }
        text
    }
}

impl Row {
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
            backend: lease.attrs.backend_type.clone(),
            data: serde_json::json!(lease.attrs.data),
            node: lease.node.clone(),
            term: lease.term,
            created: lease.created,
        }
    }
}

#[cfg(test)]
mod tests;
