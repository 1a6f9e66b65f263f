//! What the data plane has carried, for `tweedd status` and the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_dataplane::socket::loopback::Wrong;
use tweed_dataplane::worker::WorkerReport;
use tweed_forward::counters::{Counters, Traffic};
use tweed_forward::forwarding::Forwarding;
use tweed_forward::offloads::Offloads;
use tweed_forward::peers::PeerTraffic;
use tweed_forward::trial::Standing;
use tweed_model::Dual;

/// What was exchanged with one peer, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Where its packets are sent.
    pub endpoint: SocketAddr,
    /// Subnet of the lease.
    pub subnet: IpNet,
    /// The largest packet that gets there unfragmented, in bytes.
    pub mtu: u16,
    /// What was exchanged.
    #[serde(flatten)]
    pub traffic: PeerTraffic,
    /// Why it is sent single datagrams, if it is.
    #[serde(default)]
    pub singly: Option<String>,
}

/// Why a peer is sent single datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SingleReason {
    /// The path was not measured.
    Assumed,
    Found,
}

impl SingleReason {
    fn of(standing: &Standing) -> Option<Self> {
        let why = match standing.assumed {
            true => Self::Assumed,
            false => Self::Found,
        };
        standing.singly.then_some(why)
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Assumed => {
                "no trial of it had a result, and all that had one need single datagrams"
            }
            Self::Found => "single datagrams reach it, several sent at once don't",
        }
    }
}

/// Counters, offloads, peers, and why nothing is carried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPlaneStatus {
    /// Age of the counts.
    pub age_milliseconds: u64,
    /// Threads that run.
    pub workers: usize,
    /// What the kernel does for them, and what not.
    pub offloads: BTreeMap<String, bool>,
    /// Why the kernel isn't asked for an offload that it has.
    pub reasons: BTreeMap<String, String>,
    /// Sent to peers.
    pub sent: Traffic,
    /// Given to pods.
    pub delivered: Traffic,
    /// Packets that went nowhere, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// UDP datagrams of the whole network namespace that came with a wrong length or checksum, which the kernel drops.
    pub damaged: u64,
    /// Packets that a socket, or the device, did not take; and ICMP errors of the underlay.
    pub errors: BTreeMap<String, u64>,
    /// Messages, and super-packets, that had to go packet by packet.
    pub singly: BTreeMap<String, u64>,
    /// ICMP errors told to pods.
    pub answers: u64,
    /// Empty datagrams, sent and received.
    pub keep_alives: BTreeMap<String, u64>,
    /// Microseconds that threads looked for packets instead of sleeping until one came, all together.
    pub polling_microseconds: u64,
    /// Counters of each peer, in each family.
    pub peers: Vec<PeerStatus>,
    /// Why nothing is carried.
    pub error: Option<String>,
}

impl DataPlaneStatus {
    /// Adds the findings of the self-test.
    pub(super) fn tell_wrong(&mut self, wrong: &Wrong) {
        for (offload, reason) in [("send", &wrong.send), ("receive", &wrong.receive)] {
            if let Some(reason) = reason {
                self.reasons.insert(offload.to_owned(), reason.clone());
            }
        }
    }

    /// The peers that are sent single datagrams.
    pub fn sent_singly(&self) -> impl Iterator<Item = &PeerStatus> {
        self.peers.iter().filter(|peer| peer.singly.is_some())
    }
}

/// The sums of several workers, past and present.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    counters: Counters,
    offloads: Option<Offloads>,
    joined_damaged: bool,
    peers: BTreeMap<(SocketAddr, Dual<IpNet>), OfPeer>,
}

/// Counters of a peer. What workers have learned of the path ends with them.
#[derive(Clone, Copy, Debug, Default)]
struct OfPeer {
    traffic: PeerTraffic,
    mtu: Option<u16>,
    singly: Option<SingleReason>,
}

impl Counted {
    /// Adds the counters of an ended worker. The offloads that it used or gave up ended with it.
    pub(super) fn add(&mut self, report: &WorkerReport) {
        self.counters.add(&report.counters);
        for (peer, traffic) in report.table.peers().iter().zip(report.peers.all()) {
            let sum = self.peers.entry((peer.endpoint, peer.subnets));
            sum.or_default().traffic.add(traffic);
        }
    }

    /// Adds the counters of a running worker.
    pub(super) fn add_running(&mut self, report: &WorkerReport) {
        self.add(report);
        let offloads = self.offloads.unwrap_or(Offloads::ALL);
        self.offloads = Some(offloads.and(report.offloads));
        self.joined_damaged |= report.joined_damaged;
        for (peer, standing) in report.table.peers().iter().zip(&report.standings) {
            if let Some(of) = self.peers.get_mut(&(peer.endpoint, peer.subnets)) {
                of.mtu = Some(peer.mtu.min(of.mtu.unwrap_or(u16::MAX)));
                of.singly = of.singly.max(SingleReason::of(standing));
            }
        }
    }

    /// Drops the counters of former peers.
    pub(super) fn keep(&mut self, wanted: &Forwarding) {
        let known = wanted
            .peers
            .values()
            .map(|peer| (peer.endpoint, peer.subnets));
        let known: BTreeSet<_> = known.collect();
        self.peers.retain(|peer, _| known.contains(peer));
    }

    pub(super) fn status(
        &self,
        wanted: &Forwarding,
        workers: usize,
        error: Option<String>,
    ) -> DataPlaneStatus {
        let counters = &self.counters;
        let by = |counts: &[(&str, u64)]| {
            let counts = counts.iter();
            counts
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let dropped = counters.drops();
        let offloads = self.offloads.map(|offloads| offloads.each());
        let offloads = offloads.into_iter().flatten();
        DataPlaneStatus {
            age_milliseconds: 0,
            workers,
            offloads: offloads.map(|(name, on)| (name.to_owned(), on)).collect(),
            reasons: self.reasons(),
            damaged: 0,
            sent: counters.sent,
            delivered: counters.delivered,
            dropped: dropped
                .map(|(reason, count)| (reason.label().to_owned(), count))
                .collect(),
            errors: by(&[
                ("send", counters.send_errors),
                ("write", counters.write_errors),
                ("underlay", counters.underlay_errors),
            ]),
            singly: by(&[
                ("sent", counters.sent_singly),
                ("delivered", counters.delivered_singly),
            ]),
            answers: counters.answers,
            polling_microseconds: counters.polling.as_micros().try_into().unwrap_or(u64::MAX),
            keep_alives: by(&[
                ("sent", counters.keep_alives_sent),
                ("received", counters.keep_alives),
            ]),
            peers: self.peers(wanted),
            error,
        }
    }

    /// Why offloads that the kernel has are not used, as far as workers know.
    fn reasons(&self) -> BTreeMap<String, String> {
        let receive = self.joined_damaged.then(|| {
            let reason = "what the kernel joined came damaged; it is asked again after ten minutes";
            ("receive".to_owned(), reason.to_owned())
        });
        receive.into_iter().collect()
    }

    /// Counters of the current peers.
    fn peers(&self, wanted: &Forwarding) -> Vec<PeerStatus> {
        let peers = wanted.peers.iter().map(|(subnet, peer)| {
            let counted = self.peers.get(&(peer.endpoint, peer.subnets));
            let OfPeer {
                traffic,
                mtu,
                singly,
            } = counted.copied().unwrap_or_default();
            PeerStatus {
                endpoint: peer.endpoint,
                subnet: *subnet,
                mtu: mtu.unwrap_or(u16::MAX).min(peer.mtu),
                traffic,
                singly: singly.map(|why| why.reason().to_owned()),
            }
        });
        peers.collect()
    }
}
