//! What our own data plane carries, as metrics. Without one there are none.

use std::collections::BTreeMap;
use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tweed_forward::counters::Traffic;

use super::single::single;
use crate::daemon::data_plane::status::{DataPlaneStatus, PeerStatus};

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    plane: &DataPlaneStatus,
    most_peers: usize,
) -> Result<(), Error> {
    let age = ConstGauge::new(plane.age_milliseconds as f64 * 1e-3);
    let help = "How old what is told of the data plane is";
    single(encoder, "data_plane_age_seconds", help, &age)?;
    let workers = ConstGauge::new(plane.workers as i64);
    let help = "Threads that carry packets";
    single(encoder, "data_plane_workers", help, &workers)?;
    let offloads = plane.offloads.iter();
    let offloads = offloads.map(|(name, on)| (name.clone(), u64::from(*on)));
    family(
        encoder,
        (
            "data_plane_offload",
            "1 while the kernel takes this work from us",
            true,
        ),
        "offload",
        &offloads.collect(),
    )?;
    let carried = |what: fn(&Traffic) -> u64| {
        let ways = [("sent", &plane.sent), ("delivered", &plane.delivered)];
        ways.map(|(way, carried)| (way.to_owned(), what(carried)))
            .into()
    };
    for (name, help, counts) in [
        (
            "data_plane_packets",
            "Packets sent to peers, and given to pods",
            carried(|carried| carried.packets),
        ),
        (
            "data_plane_bytes",
            "Their bytes",
            carried(|carried| carried.bytes),
        ),
        (
            "data_plane_calls",
            "System calls that took them",
            carried(|carried| carried.calls),
        ),
        (
            "data_plane_singly",
            "Messages and super-packets that had to go packet by packet",
            plane.singly.clone(),
        ),
        (
            "data_plane_keep_alives",
            "Empty datagrams",
            plane.keep_alives.clone(),
        ),
    ] {
        family(encoder, (name, help, false), "direction", &counts)?;
    }
    let drops = (
        "data_plane_drops",
        "Packets that went nowhere, by reason",
        false,
    );
    family(encoder, drops, "reason", &plane.dropped)?;
    let errors = (
        "data_plane_errors",
        "Packets that a socket or the device did not take, and ICMP errors of the underlay",
        false,
    );
    family(encoder, errors, "at", &plane.errors)?;
    let damaged = ConstCounter::new(plane.damaged);
    let help = "UDP datagrams of the network namespace that came with a wrong length or checksum";
    single(encoder, "data_plane_damaged", help, &damaged)?;
    let singly = ConstGauge::new(plane.sent_singly().count() as i64);
    let help = "Peers that are sent single datagrams: several at once don't reach them, or none of the peers that were tried";
    single(encoder, "data_plane_peers_sent_singly", help, &singly)?;
    let answers = ConstCounter::new(plane.answers);
    let help = "ICMP errors told to pods";
    single(encoder, "data_plane_answers", help, &answers)?;
    let polling = ConstCounter::new(plane.polling_microseconds as f64 * 1e-6);
    let help = "Time that threads looked for packets instead of sleeping until one came";
    single(encoder, "data_plane_polling_seconds", help, &polling)?;
    // Each node has them for each other one: the square of the cluster's size in all.
    if plane.peers.len() > most_peers {
        return Ok(());
    }
    peers(encoder, &plane.peers)
}

/// A metric with one label; `gauge` says whether it can go down.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, gauge): (&str, &str, bool),
    label: &str,
    counts: &BTreeMap<String, u64>,
) -> Result<(), Error> {
    let kind = if gauge {
        ConstGauge::new(0_i64).metric_type()
    } else {
        ConstCounter::new(0_u64).metric_type()
    };
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (value, count) in counts {
        let labels = [(label, value.as_str())];
        let encoder = metric.encode_family(&labels)?;
        if gauge {
            ConstGauge::new(*count as i64).encode(encoder)?;
        } else {
            ConstCounter::new(*count).encode(encoder)?;
        }
    }
    Ok(())
}

/// A direction, and the count of it.
type OfPeer = (&'static str, fn(&PeerStatus) -> u64);

/// A name, what it means, and its value.
type Gauge = (&'static str, &'static str, fn(&PeerStatus) -> i64);

fn peers(encoder: &mut DescriptorEncoder<'_>, peers: &[PeerStatus]) -> Result<(), Error> {
    let rows: [(&str, &str, &[OfPeer]); 4] = [
        (
            "peer_packets",
            "Packets exchanged with a peer",
            &[
                ("sent", |peer| peer.traffic.sent.packets),
                ("received", |peer| peer.traffic.received.packets),
            ],
        ),
        (
            "peer_bytes",
            "Their bytes",
            &[
                ("sent", |peer| peer.traffic.sent.bytes),
                ("received", |peer| peer.traffic.received.bytes),
            ],
        ),
        (
            "peer_calls",
            "System calls that took the packets exchanged with a peer",
            &[
                ("sent", |peer| peer.traffic.sent.calls),
                ("received", |peer| peer.traffic.received.calls),
            ],
        ),
        (
            "peer_refused",
            "ICMP errors of the underlay about a peer: nobody listens there, or there is no way",
            &[("sent", |peer| peer.traffic.refused)],
        ),
    ];
    for (name, help, directions) in rows {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for peer in peers {
            let [endpoint, subnet] = [peer.endpoint.to_string(), peer.subnet.to_string()];
            for (direction, of) in directions {
                let labels = [
                    ("peer", endpoint.as_str()),
                    ("subnet", &subnet),
                    ("direction", direction),
                ];
                ConstCounter::new(of(peer)).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    let gauges: [Gauge; 2] = [
        (
            "peer_mtu_bytes",
            "The largest packet that gets to a peer unfragmented",
            |peer| peer.mtu.into(),
        ),
        (
            "peer_sent_singly",
            "1 while a peer is sent single datagrams, since several at once don't reach it, or none that was tried",
            |peer| peer.singly.is_some().into(),
        ),
    ];
    for (name, help, of) in gauges {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for peer in peers {
            let [endpoint, subnet] = [peer.endpoint.to_string(), peer.subnet.to_string()];
            let labels = [("peer", endpoint.as_str()), ("subnet", &subnet)];
            ConstGauge::new(of(peer)).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
