//! Which peers answer, and how fast.

use std::collections::BTreeMap;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tweed_probe::health::State;
use tweed_probe::prober::{BUCKETS, Counters};

use crate::daemon::probing::Probed;

/// All of it is 0 where nothing is asked.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    states: &BTreeMap<State, usize>,
    counters: &Counters,
) -> Result<(), std::fmt::Error> {
    let help = "Peers by how they answer";
    let mut metric = encoder.encode_descriptor("peer_state", help, None, MetricType::Gauge)?;
    for state in State::ALL {
        let count = states.get(&state).copied().unwrap_or(0);
        let labels = [("state", state.label())];
        ConstGauge::new(count as i64).encode(metric.encode_family(&labels)?)?;
    }
    let help = "Echoes to peers without an answer, by the way that they took";
    let mut metric =
        encoder.encode_descriptor("probe_failures", help, None, MetricType::Counter)?;
    for (stage, lost) in ["tunnel", "underlay", "full_size"]
        .iter()
        .zip(counters.lost)
    {
        let labels = [("stage", *stage)];
        ConstCounter::new(lost).encode(metric.encode_family(&labels)?)?;
    }
    let help = "How long answers of peers took";
    let mut metric =
        encoder.encode_descriptor("probe_rtt_seconds", help, None, MetricType::Histogram)?;
    let bounds = BUCKETS.iter().map(|micros| *micros as f64 * 1e-6);
    let buckets: Vec<_> = bounds.chain([f64::MAX]).zip(counters.answers).collect();
    let count = counters.answers.iter().sum();
    metric.encode_histogram::<NoLabelSet>(counters.micros as f64 * 1e-6, count, &buckets, None)
}

/// Each peer by itself, as long as they are few: each node has them for each other one.
pub(super) fn each(
    encoder: &mut DescriptorEncoder<'_>,
    peers: &[Probed],
) -> Result<(), std::fmt::Error> {
    let help = "1 for each peer, with how it answers";
    let mut metric = encoder.encode_descriptor("peer_probe", help, None, MetricType::Gauge)?;
    for peer in peers {
        let labels = [
            ("peer", peer.public.as_str()),
            ("subnet", &peer.subnets),
            ("state", peer.health.state.label()),
        ];
        ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
    }
    let help = "How long the last answer of a peer took";
    let mut metric =
        encoder.encode_descriptor("peer_rtt_seconds", help, None, MetricType::Gauge)?;
    for peer in peers {
        if let Some(rtt) = peer.health.rtt {
            let labels = [("peer", peer.public.as_str()), ("subnet", &peer.subnets)];
            ConstGauge::new(rtt.as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
