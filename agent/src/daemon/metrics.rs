//! The status as Prometheus metrics. Everything is derived from [`Status`] at the moment of the request, so that metrics
//! and `tweedd status` cannot disagree.

pub mod addresses;
mod data_plane;
mod probes;
pub mod process;
mod single;

use std::collections::BTreeMap;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::facts::SharedFacts;
use super::http::collected::Collected;
use super::status::{NAMED, Standing, Status};
use super::turns::{Longest, Turns};
use addresses::Addresses;
use process::Process;
use single::single;

/// A registry that renders the status. More peers than `most_peers` have no metrics of their own.
pub fn registry(
    facts: SharedFacts,
    (collected, process, addresses): (Collected, Process, Addresses),
    turns: Turns,
    most_peers: usize,
) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process));
    let own = registry.sub_registry_with_prefix("tweed");
    own.register_collector(Box::new(addresses));
    own.register_collector(Box::new(FromStatus {
        facts,
        collected,
        turns,
        most_peers,
    }));
    registry
}

struct FromStatus {
    facts: SharedFacts,
    collected: Collected,
    turns: Turns,
    most_peers: usize,
}

impl std::fmt::Debug for FromStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FromStatus")
    }
}

impl Collector for FromStatus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (status, probed) = {
            let facts = self.facts.lock();
            let probed = facts.cluster.probing.clone();
            (Status::of(&facts, Instant::now()), probed)
        };
        build(&mut encoder, &status)?;
        gauges(&mut encoder, &status)?;
        counters(&mut encoder, &status)?;
        refused(&mut encoder, &status)?;
        warnings(&mut encoder, &status)?;
        named(&mut encoder, &status)?;
        turns(&mut encoder, self.turns.longest())?;
        probes::encode(&mut encoder, &status.peer_states, &probed.counters())?;
        if let Some(peers) = probed.few(self.most_peers) {
            probes::each(&mut encoder, &peers)?;
        }
        match self.collected.last() {
            Some(plane) => data_plane::encode(&mut encoder, &plane, self.most_peers),
            None => Ok(()),
        }
    }
}

/// What runs here: the version is no value, and the backend may change.
fn build(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let labels = [
        ("version", status.version.clone()),
        ("backend", status.backend.clone().unwrap_or_default()),
    ];
    let help = "Version of the agent, and the backend that it runs";
    single(encoder, "build", help, &Info::new(labels.to_vec()))
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let flag = |on: bool| i64::from(on);
    let held = flag(matches!(status.lease, Standing::Held));
    let rows: [(&str, &str, i64); 9] = [
        (
            "ready",
            "1 if leased, programmed and in sync",
            flag(status.ready),
        ),
        (
            "in_sync",
            "1 once a full list of leases has been read, 0 while the store is out of reach",
            flag(status.in_sync),
        ),
        (
            "lease_held",
            "1 while the own lease is held as far as the store says",
            held,
        ),
        (
            "kernel_programmed",
            "1 if the last pass left the kernel as wanted",
            flag(status.kernel.programmed),
        ),
        (
            "deletions_held",
            "1 while the guard holds deletions back",
            flag(status.kernel.held.is_some()),
        ),
        (
            "peers",
            "Peers that are programmed, those included whose deletion is held back",
            (status.peers + status.kernel.held_peers) as i64,
        ),
        (
            "peers_held",
            "Peers that stay programmed only because their deletion is held back",
            status.kernel.held_peers as i64,
        ),
        (
            "broken_entries",
            "Store entries that can't be read",
            status.broken.len() as i64,
        ),
        (
            "pod_mtu_bytes",
            "MTU of the pods' interfaces",
            status.mtu.unwrap_or(0).into(),
        ),
    ];
    for (name, help, value) in rows {
        single(encoder, name, help, &ConstGauge::new(value))?;
    }
    let seconds = ConstGauge::new(status.kernel.last_full_seconds);
    let help = "Duration of the last full pass";
    single(encoder, "full_pass_seconds", help, &seconds)
}

fn counters(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let kernel = &status.kernel;
    let fights = kernel.fights.values().sum();
    let rows: [(&str, &str, u64); 7] = [
        (
            "cni_collected",
            "Addresses, devices and rules of containers gone without DEL that were removed",
            status.attached.collected,
        ),
        (
            "full_passes",
            "Passes that compared everything with the kernel",
            kernel.full_passes,
        ),
        (
            "fast_passes",
            "Passes that applied one change of the leases",
            kernel.fast_passes,
        ),
        (
            "kernel_changes",
            "Changes made in the kernel",
            kernel.changes,
        ),
        (
            "kernel_failures",
            "Changes that the kernel refused",
            kernel.failures,
        ),
        (
            "repairs",
            "Passes that put back what something else had removed or changed",
            kernel.repairs,
        ),
        (
            "fights",
            "Times that another program was seen to undo a repair repeatedly",
            fights,
        ),
    ];
    for (name, help, value) in rows {
        single(encoder, name, help, &ConstCounter::new(value))?;
    }
    Ok(())
}

fn turns(encoder: &mut DescriptorEncoder<'_>, longest: Longest) -> Result<(), std::fmt::Error> {
    let rows = [
        (
            "main_thread_blocked_seconds_max",
            "The longest time since the start that the main thread stood still in one turn, for the disk, a lock or an answer of the kernel",
            longest.blocked,
        ),
        (
            "main_thread_busy_seconds_max",
            "The longest processor time since the start of one turn of the main thread",
            longest.busy,
        ),
    ];
    for (name, help, time) in rows {
        single(encoder, name, help, &ConstGauge::new(time.as_secs_f64()))?;
    }
    Ok(())
}

fn refused(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let mut by_kind: BTreeMap<&str, i64> = BTreeMap::new();
    for lease in &status.refused {
        *by_kind.entry(&lease.kind).or_default() += 1;
    }
    let sample = ConstGauge::new(0_i64);
    let help = "Leases that are no peers, by reason";
    let mut metric =
        encoder.encode_descriptor("refused_leases", help, None, sample.metric_type())?;
    for (kind, count) in by_kind {
        let labels = [("reason", kind)];
        ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn warnings(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let mut by_kind: BTreeMap<&str, i64> = BTreeMap::new();
    for warning in &status.warnings {
        *by_kind.entry(&warning.kind).or_default() += 1;
    }
    if !status.host.is_empty() {
        by_kind.insert("host_network", status.host.len() as i64);
    }
    let sample = ConstGauge::new(0_i64);
    let help =
        "What is in the way of pods' packets on this host, by kind; status says what mends it";
    let mut metric =
        encoder.encode_descriptor("host_warnings", help, None, sample.metric_type())?;
    for (kind, count) in by_kind {
        let labels = [("kind", kind)];
        ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Each entry by name, so that an alert names its owner. A store writer could invent any number of them: beyond
/// [`NAMED`] only the counts grow.
fn named(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let refused = status.refused.iter();
    let refused = refused.map(|lease| [("lease", lease.lease.as_str()), ("reason", &lease.kind)]);
    let broken = status.broken.keys();
    let broken = broken.map(|key| [("lease", key.as_str()), ("reason", "unreadable")]);
    let one = ConstGauge::new(1_i64);
    let help = "1 for each entry of the store that is no peer, by name; the first hundred";
    let mut metric = encoder.encode_descriptor("bad_entry", help, None, one.metric_type())?;
    for labels in refused.chain(broken).take(NAMED) {
        one.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
