//! `tweedd top`: what is exchanged with each of the other nodes, by the counters of our own data plane.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tweed_forward::counters::Traffic;

use super::{find, print, table, watch};
use crate::config::cli::{Output, TopArgs};
use crate::config::options::Options;
use crate::daemon::clock;
use crate::daemon::peers::Peer;
use crate::daemon::status::Status;

/// Version of the JSON document: it rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The rates of all nodes, those with the most bytes first.
#[derive(Debug, Serialize)]
struct Rates {
    schema: u32,
    /// How long was counted.
    seconds: f64,
    peers: Vec<Rate>,
}

/// What was exchanged with a node in a second.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Rate {
    lease: String,
    node: Option<String>,
    public: String,
    subnets: String,
    sent: PerSecond,
    received: PerSecond,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct PerSecond {
    bytes: u64,
    packets: u64,
}

/// The counters at one moment.
struct Sample {
    at: Instant,
    peers: Vec<Peer>,
}

/// Prints the rates, once or again and again.
///
/// # Errors
/// When no agent answers, or it carries no packets itself.
pub fn top(options: &Options, args: &TopArgs) -> Result<()> {
    let time = Duration::from_secs(args.every);
    let mut before = sample(options)?;
    let mut count = || {
        thread::sleep(time.saturating_sub(before.at.elapsed()));
        let now = sample(options)?;
        let rates = rates(&before, &now, args.count);
        before = now;
        Ok::<_, anyhow::Error>(rates)
    };
    if args.once {
        let rates = count()?;
        return print::print(args.output.output, &rates, || listed(&rates));
    }
    // The counting itself takes the time.
    match args.output.output {
        Output::Text => watch::watch(0, clock::seconds, || count().map(|rates| listed(&rates))),
        Output::Json => watch::documents(0, || {
            serde_json::to_string(&count()?).context("encode the rates")
        }),
    }
}

fn sample(options: &Options) -> Result<Sample> {
    let answer = find::connect(&options.host)?.ask("GET", "/v1/status/peers")?;
    let at = Instant::now();
    let status: Status = serde_json::from_str(&answer).context("read the agent's answer")?;
    if status.data_plane.is_none() {
        let backend = status.backend.unwrap_or_else(|| "none yet".to_owned());
        bail!(
            "this agent carries no packets itself (backend {backend}), and the kernel counts none for each node: for all together, `ip -s link` of the tunnel's device or the uplink"
        );
    }
    let peers = status.peer_list.unwrap_or_default();
    Ok(Sample { at, peers })
}

fn rates(before: &Sample, now: &Sample, most: usize) -> Rates {
    let time = now.at.saturating_duration_since(before.at);
    let known: BTreeMap<&str, &Peer> = before
        .peers
        .iter()
        .map(|peer| (&*peer.lease, peer))
        .collect();
    let rate = |peer: &Peer| {
        let earlier = known.get(&*peer.lease);
        let [sent, received] = exchanged(peer);
        let [sent_before, received_before] =
            earlier.map(|peer| exchanged(peer)).unwrap_or_default();
        Rate {
            lease: peer.lease.clone(),
            node: peer.node.clone(),
            public: joined(peer.public.values()),
            subnets: joined(peer.subnets.values()),
            sent: per_second(&sent_before, &sent, time),
            received: per_second(&received_before, &received, time),
        }
    };
    let mut peers: Vec<Rate> = now.peers.iter().map(rate).collect();
    peers.sort_by_key(|rate| Reverse(rate.sent.bytes + rate.received.bytes));
    peers.truncate(most);
    Rates {
        schema: SCHEMA,
        seconds: time.as_secs_f64(),
        peers,
    }
}

/// Sent and received, of both families.
fn exchanged(peer: &Peer) -> [Traffic; 2] {
    let mut sums = [Traffic::default(); 2];
    for family in &peer.traffic {
        sums[0].add(&family.traffic.sent);
        sums[1].add(&family.traffic.received);
    }
    sums
}

/// Counters that went back are those of new workers.
fn per_second(before: &Traffic, now: &Traffic, time: Duration) -> PerSecond {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = |before: u64, now: u64| {
        let count = now.checked_sub(before).unwrap_or(now);
        count.saturating_mul(1_000) / milliseconds
    };
    PerSecond {
        bytes: rate(before.bytes, now.bytes),
        packets: rate(before.packets, now.packets),
    }
}

fn listed(rates: &Rates) -> String {
    let head = ["PEER", "SUBNET", "SENT", "", "RECEIVED", ""].map(str::to_owned);
    let rows = rates.peers.iter().map(|rate| {
        let node = match &rate.node {
            Some(node) => format!("{node} ({})", rate.public),
            None => rate.public.clone(),
        };
        let packets = |of: &PerSecond| format!("{} packets/s", of.packets);
        [
            node,
            rate.subnets.clone(),
            bytes(rate.sent.bytes),
            packets(&rate.sent),
            bytes(rate.received.bytes),
            packets(&rate.received),
        ]
    });
    table::render(std::iter::once(head).chain(rows), &[])
}

/// `812 B/s`, `1.2 kB/s`, `37 MB/s`.
fn bytes(rate: u64) -> String {
    let mut tenths = rate.saturating_mul(10);
    let mut unit = "B/s";
    for next in ["kB/s", "MB/s", "GB/s"] {
        if tenths < 10_000 {
            break;
        }
        tenths /= 1_000;
        unit = next;
    }
    match tenths < 100 && unit != "B/s" {
        true => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        false => format!("{} {unit}", tenths / 10),
    }
}

fn joined<'a, T: ToString + 'a>(values: impl Iterator<Item = &'a T>) -> String {
    let values: Vec<String> = values.map(ToString::to_string).collect();
    values.join(" ")
}

#[cfg(test)]
mod tests {
    use tweed_forward::peers::PeerTraffic;
    use tweed_model::Dual;

    use super::*;
    use crate::daemon::peers::{Exchanged, Standing};

    fn peer(number: u8, bytes: u64) -> Peer {
        let subnet = format!("10.5.{number}.0/24").parse().expect("a subnet");
        let traffic = |bytes, packets| Traffic {
            bytes,
            packets,
            calls: 1,
        };
        Peer {
            lease: format!("10.5.{number}.0-24"),
            node: None,
            public: Dual::of_addrs([format!("192.0.2.{number}").parse().expect("an address")]),
            subnets: Dual::of_nets([subnet]),
            backend: "udp".to_owned(),
            seen: None,
            created: 1,
            state: Standing::Peer,
            reason: None,
            kind: None,
            traffic: vec![Exchanged {
                subnet,
                mtu: 1472,
                traffic: PeerTraffic {
                    sent: traffic(bytes, bytes / 100),
                    received: traffic(bytes / 2, bytes / 200),
                    refused: 0,
                },
            }],
            probe: None,
        }
    }

    fn sample(at: Instant, peers: &[(u8, u64)]) -> Sample {
        let peers = peers.iter().map(|(number, bytes)| peer(*number, *bytes));
        Sample {
            at,
            peers: peers.collect(),
        }
    }

    #[test]
    fn rates_are_the_differences_by_time_and_the_most_come_first() {
        let start = Instant::now();
        let before = sample(start, &[(1, 10_000), (2, 500_000), (3, 9_000)]);
        let now = [(1, 12_000), (2, 500_000), (3, 4_000), (4, 1_000)];
        let now = sample(start + Duration::from_secs(2), &now);
        let rates = rates(&before, &now, 3);
        let sent = |rate: &Rate| (rate.lease.clone(), rate.sent.bytes, rate.received.packets);
        let sent: Vec<_> = rates.peers.iter().map(sent).collect();
        let row = |number, bytes, packets| (format!("10.5.{number}.0-24"), bytes, packets);
        // The third one's counters began anew.
        assert_eq!(sent, [row(3, 2_000, 10), row(1, 1_000, 5), row(4, 500, 2)]);
        let text = listed(&rates);
        let line = "192.0.2.3  10.5.3.0/24  2.0 kB/s  20 packets/s  1.0 kB/s  10 packets/s";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_rate_has_two_digits_at_least_and_one_unit() {
        let texts = [0, 999, 1_000, 12_345, 1_250_000, 3_000_000_000].map(bytes);
        let wanted = [
            "0 B/s", "999 B/s", "1.0 kB/s", "12 kB/s", "1.2 MB/s", "3.0 GB/s",
        ];
        assert_eq!(texts, wanted);
    }
}
