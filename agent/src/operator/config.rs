//! `tweedd config`: the network configuration in the store, and a check of one before anybody depends on it.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tweed_backend::Backends;
use tweed_host::bounded_file::{self, MIB};
use tweed_model::{NetworkConfig, Subnets};
use tweed_store::{LeaseStore, StoreError, cut_by, servers_of};

use crate::config::cli::Output;
use crate::config::network_notes::notes;
use crate::host::uplink;

use super::print;
use change::Change;

mod change;

/// Summary of a configuration.
#[derive(Debug, Serialize)]
struct Summary {
    backend: String,
    /// Backends whose nodes are peers too.
    accepts: Vec<String>,
    pools: Vec<PoolSummary>,
    /// Unknown keys, with those that may be meant.
    unknown: Vec<String>,
    /// Consequences that may surprise.
    notes: Vec<String>,
    #[serde(skip)]
    cut_by: Subnets,
}

#[derive(Debug, Serialize)]
struct PoolSummary {
    network: String,
    subnet_len: u8,
    min: String,
    max: String,
    /// How many nodes can have a subnet, at most 2^64 - 1.
    subnets: u64,
}

/// `tweedd config get`.
///
/// # Errors
/// If there is none, or the store can't be read.
pub async fn get(store: &impl LeaseStore, output: Output) -> anyhow::Result<()> {
    let text = store.config().await?;
    match output {
        Output::Text => print::line(&text),
        Output::Json => {
            let value: Value = serde_json::from_str(&text)
                .context("the configuration in the store is not JSON; see it with --output text")?;
            print::print(output, &value, String::new)
        }
    }
}

/// `tweedd config set`. Asks before it writes what makes leases invalid, unless `yes` says so already.
///
/// # Errors
/// If the configuration is wrong, or the change is not wanted, in which cases nothing is written; or the store refuses
/// it.
pub async fn set(
    store: &impl LeaseStore,
    file: &Path,
    yes: bool,
    output: Output,
) -> anyhow::Result<()> {
    let text = read(file)?;
    let summary = summary_for(cut_by(store), &text, &apart(&servers_of(store).await))?;
    match store.config().await {
        Ok(before) => {
            let change = Change::between(&before, &text, store).await?;
            // Standard output is for the result.
            eprint!("{}", change.words());
            if before.trim() == text.trim() {
                eprintln!("this is what the store has already");
            }
            if !yes && !change.invalid.is_empty() {
                change.confirm(file != Path::new("-"))?;
            }
        }
        Err(StoreError::NoConfig { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    store.put_config(&text).await?;
    print::print(output, &summary, || summary.words())
}

/// `tweedd config check FILE`, for a store that cuts the networks, or leaves that to the nodes.
///
/// # Errors
/// What is wrong with it.
pub fn check_file(file: &Path, cut_by: Subnets, output: Output) -> anyhow::Result<()> {
    let summary = summary_for(cut_by, &read(file)?, &apart(&[]))?;
    print::print(output, &summary, || summary.words())
}

/// `tweedd config check` of the configuration in the store.
///
/// # Errors
/// What is wrong with it; or if there is none.
pub async fn check_store(store: &impl LeaseStore, output: Output) -> anyhow::Result<()> {
    let apart = apart(&servers_of(store).await);
    let summary = summary_for(cut_by(store), &store.config().await?, &apart)?;
    print::print(output, &summary, || summary.words())
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return text_of(std::io::stdin()).context("read standard input");
    }
    // The operator may well mean a FIFO: a shell's <(…) is one.
    let read = std::fs::File::open(file).and_then(text_of);
    read.with_context(|| match file.as_os_str().as_encoded_bytes().first() {
        Some(b'{') => {
            "this is a configuration, where the name of its file is wanted; or give it by standard input: echo '{…}' | tweedd config set -"
                .to_owned()
        }
        _ => format!("read {}", file.display()),
    })
}

fn text_of(stream: impl Read) -> std::io::Result<String> {
    bounded_file::text(bounded_file::read_stream(stream, MIB)?)
}

/// Addresses that no pod network may hold, as far as they are known here: this host's own, and the store's servers.
fn apart(servers: &[String]) -> Vec<(String, IpAddr)> {
    let uplink = uplink::of_default_route();
    let own = uplink.iter().flat_map(|uplink| {
        let words = format!("this host's address on {}", uplink.name);
        let addrs = uplink.addrs.iter().map(|addr| addr.addr);
        addrs.map(move |addr| (words.clone(), addr))
    });
    let servers = servers.iter().filter_map(|server| {
        let addr = server.parse().ok()?;
        Some(("a server of the store".to_owned(), addr))
    });
    own.chain(servers).collect()
}

/// Reads a configuration as the daemon does.
fn summary_for(cut_by: Subnets, text: &str, apart: &[(String, IpAddr)]) -> anyhow::Result<Summary> {
    let (config, mut unknown) = NetworkConfig::parse_for(cut_by, text)?;
    let (backends, unknown_options) = Backends::parse(&config)?;
    unknown.extend(unknown_options);
    let pools = config.pools.values().map(|pool| PoolSummary {
        network: pool.network.to_string(),
        subnet_len: pool.subnet_len,
        min: pool.min.to_string(),
        max: pool.max.to_string(),
        // Or as many as can be counted.
        subnets: u64::try_from(pool.subnets()).unwrap_or(u64::MAX),
    });
    let uplink = uplink::of_default_route().map(|uplink| (uplink.name, uplink.mtu));
    let notes = notes(text, &config, uplink.as_ref(), apart);
    let accepts = backends.accepted().map(|accepted| accepted.name.to_owned());
    Ok(Summary {
        pools: pools.collect(),
        backend: config.backend_type,
        accepts: accepts.collect(),
        unknown,
        notes,
        cut_by,
    })
}

impl Summary {
    fn words(&self) -> String {
        let mut text = format!("backend {}\n", self.backend);
        for name in &self.accepts {
            text += &format!("accepts {name}\n");
        }
        for pool in &self.pools {
            text += &match self.cut_by {
                Subnets::Assigned => format!("network {}, cut by Kubernetes\n", pool.network),
                Subnets::Leased => format!(
                    "network {}: {} subnets of /{}, from {} to {}\n",
                    pool.network, pool.subnets, pool.subnet_len, pool.min, pool.max
                ),
            };
        }
        for key in &self.unknown {
            text += &format!("unknown key {key}, ignored\n");
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests;
