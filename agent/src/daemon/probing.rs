//! Echoes to the other nodes: which ones are asked where, and what status and log say of their answers.

mod news;
pub mod start;
pub mod words;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::{ClusterSnapshot, Dual, Family, Lease, SubnetKey};
use tweed_probe::health::{Health, State};
use tweed_probe::prober::{Counters, Prober};
use tweed_probe::target::{Id, Target};
use tweed_probe::thread::Probes;
use tweed_state::Desired;

use super::status::NAMED;
use words::note;

/// How a peer answers, in the status document. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProbe {
    /// How it answers.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// When it last answered the way that pods' packets go.
    pub last_seen: Option<u64>,
    /// How long that took, in microseconds.
    pub rtt_us: Option<u64>,
    /// The largest packet that gets there, in bytes, where that is less than a pod's.
    pub mtu: Option<u16>,
    /// What that means, where something is wrong.
    pub note: Option<String>,
}

/// A peer that packets don't reach, or not all packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadPeer {
    /// Its lease's key.
    pub lease: String,
    pub subnets: Dual<IpNet>,
    /// Where it is asked.
    pub public: Dual<IpAddr>,
    /// How it answers.
    pub probe: PeerProbe,
}

/// A peer with what is known of its answers.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Where it is asked, with spaces between two families.
    pub public: String,
    /// Its pods' subnets.
    pub subnets: String,
    /// How it answers.
    pub health: Health,
}

/// Which peers answer, as of the last time that one turned.
#[derive(Debug, Default)]
pub struct Answers {
    /// How many peers are in which state.
    pub states: BTreeMap<State, usize>,
    /// The bad ones.
    pub bad: Vec<BadPeer>,
    /// Why this node reaches none of them, though it did.
    pub all_lost: Option<String>,
}

/// The thread that asks; none where that is switched off or the kernel refuses it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Probing(Option<Probes>);

impl Probing {
    /// Asks by this thread.
    pub(super) fn by(probes: Probes) -> Self {
        Self(Some(probes))
    }

    /// These are the peers now.
    pub(super) fn want(
        &self,
        (own, mtu): (SubnetKey, u32),
        snapshot: &Arc<ClusterSnapshot>,
        desired: &Arc<Desired>,
    ) {
        if let Some(probes) = &self.0 {
            let (snapshot, desired) = (Arc::clone(snapshot), Arc::clone(desired));
            probes.want(move |each| peers((own, mtu), &snapshot, &desired, each));
        }
    }

    /// How each of these peers answers.
    pub(super) fn answers(
        &self,
        keys: impl Iterator<Item = SubnetKey>,
        ports: &[u16],
    ) -> Vec<Option<PeerProbe>> {
        let Some(probes) = &self.0 else {
            return keys.map(|_| None).collect();
        };
        probes.look(|prober, now| {
            let of = |key| Some(PeerProbe::of(&prober.health(&key)?, now, ports));
            keys.map(of).collect()
        })
    }

    /// All peers, if there are no more than so many.
    pub(super) fn few(&self, most: usize) -> Option<Vec<Probed>> {
        let peers = self.0.as_ref()?.look(|prober, _| {
            let peers = prober.peers().take(most.saturating_add(1));
            let named = peers.map(|(key, health)| Probed {
                public: words::list(prober.announced(&key).values()),
                subnets: words::list(key.0.values()),
                health,
            });
            named.collect::<Vec<_>>()
        });
        (peers.len() <= most).then_some(peers)
    }

    /// What was lost and how long answers took.
    pub(super) fn counters(&self) -> Counters {
        let probes = self.0.as_ref();
        let counters = probes.map(|probes| probes.look(|prober, _| prober.counters().clone()));
        counters.unwrap_or_default()
    }
}

/// Where each peer is asked, in the order of their ids.
fn peers(
    (own, mtu): (SubnetKey, u32),
    snapshot: &ClusterSnapshot,
    desired: &Desired,
    each: &mut dyn FnMut(Id, Target),
) {
    let peers = snapshot.leases.values().filter(|lease| {
        let key = &lease.key;
        *key != own && !desired.refused.contains_key(key) && !desired.reserved.contains_key(key)
    });
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    for lease in peers {
        for family in Family::BOTH {
            if let Some(target) = target(lease, family, mtu) {
                each((lease.key, family), target);
            }
        }
    }
}

fn target(lease: &Lease, family: Family, mtu: u16) -> Option<Target> {
    lease.key.0.get(family)?;
    Some(Target {
        underlay: *lease.attrs.public.get(family)?,
        // flannel's udp announces no backend.
        tunnel: matches!(&*lease.attrs.backend_type, "vxlan" | "udp" | ""),
        mtu,
    })
}

impl fmt::Display for BadPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = words::from(self.probe.state);
        let public = words::list(self.public.values());
        let subnets = words::list(self.subnets.values());
        write!(f, "{what} {public} ({subnets})")?;
        match &self.probe.note {
            Some(note) => write!(f, ": {note}"),
            None => Ok(()),
        }
    }
}

impl Answers {
    pub(super) fn of(prober: &Prober, now: Duration, ports: &[u16]) -> Self {
        let mut worst: Vec<_> = prober.peers().collect();
        worst.retain(|(_, health)| health.state.is_bad());
        worst.sort_by_key(|(_, health)| (Reverse(health.state), health.since));
        let bad = worst.iter().take(NAMED).map(|(key, health)| BadPeer {
            lease: key.to_string(),
            subnets: key.0,
            public: prober.announced(key),
            probe: PeerProbe::of(health, now, ports),
        });
        let bad: Vec<_> = bad.collect();
        let all_lost = prober.all_lost().map(|peers| {
            let note = bad.first().and_then(|peer| peer.probe.note.clone());
            format!(
                "none of the {peers} other nodes answers: {}",
                note.unwrap_or_default()
            )
        });
        Self {
            states: prober.states(),
            bad,
            all_lost,
        }
    }
}

impl PeerProbe {
    fn of(health: &Health, now: Duration, ports: &[u16]) -> Self {
        let today = SystemTime::now().duration_since(UNIX_EPOCH);
        let today = today.unwrap_or_default();
        let seconds = |at: Duration| today.saturating_sub(now.saturating_sub(at)).as_secs();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            state: health.state,
            since: seconds(health.since),
            last_seen: health.last_seen.map(seconds),
            rtt_us: health.rtt.map(micros),
            mtu: health.mtu,
            note: note(health, ports),
        }
    }
}

#[cfg(test)]
mod tests;
