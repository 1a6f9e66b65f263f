//! Peers that join, leave or change, for the log: the first of many by name and the rest by number, and no more than a few
//! lines in a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, Refusal, SubnetKey};

use crate::daemon::session::join;

/// So many peers of one piece of news are named.
const NAMED: usize = 3;
/// So many lines in a minute.
const LINES: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// The peers at one moment.
#[derive(Clone, Copy)]
pub(super) struct Peers<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    /// The own lease, which is no peer.
    pub(super) own: SubnetKey,
    pub(super) refused: &'a BTreeMap<SubnetKey, Refusal>,
}

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct PeerNews {
    since: Option<Instant>,
    lines: usize,
    untold: usize,
}

impl PeerNews {
    /// Logs what is new.
    pub(super) fn log(&mut self, before: Peers<'_>, now: Peers<'_>, at: Instant) {
        for line in news(before, now) {
            if self.may_be_told(at) {
                tracing::info!("{line}");
            }
        }
    }

    /// Whether there may be another line; says how many there were not, once a minute.
    fn may_be_told(&mut self, now: Instant) -> bool {
        if self.since.is_some_and(|since| now >= since + MINUTE) {
            if self.untold > 0 {
                tracing::info!(
                    more = self.untold,
                    "peers joined, left or changed more often than is told"
                );
            }
            (self.since, self.lines, self.untold) = (None, 0, 0);
        }
        self.since.get_or_insert(now);
        let may = self.lines < LINES;
        match may {
            true => self.lines += 1,
            false => self.untold += 1,
        }
        may
    }
}

impl Peers<'_> {
    fn get(&self, key: &SubnetKey) -> Option<&Lease> {
        let lease = self.snapshot.leases.get(key)?;
        let counts = *key != self.own && !self.refused.contains_key(key) && !is_unused(lease);
        counts.then_some(lease)
    }
}

/// What two moments don't share.
fn news(before: Peers<'_>, now: Peers<'_>) -> Vec<String> {
    let leases = now.snapshot.leases.changes(&before.snapshot.leases);
    let mut keys: BTreeSet<SubnetKey> = leases.map(|change| *change.key).collect();
    for (these, others) in [(before.refused, now.refused), (now.refused, before.refused)] {
        keys.extend(these.keys().filter(|key| !others.contains_key(key)));
    }
    let (mut joined, mut left, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for key in &keys {
        match (before.get(key), now.get(key)) {
            (None, Some(peer)) => joined.push(words(peer)),
            (Some(peer), None) => left.push(words(peer)),
            (Some(before), Some(peer)) if before.attrs != peer.attrs => {
                changed.push(change(before, peer));
            }
            _ => {}
        }
    }
    let lines = [
        line("joined", joined),
        line("left", left),
        line("changed", changed),
    ];
    lines.into_iter().flatten().collect()
}

/// A reservation that no node has taken up.
fn is_unused(lease: &Lease) -> bool {
    lease.term == Term::Reserved
        && lease.attrs.backend_type.is_empty()
        && lease.attrs.data.is_empty()
}

fn words(peer: &Lease) -> String {
    let node = peer
        .node
        .as_ref()
        .map_or_else(String::new, |node| format!("{node}, "));
    format!("{} ({node}{})", subnets(peer), join(&peer.attrs.public))
}

fn subnets(peer: &Lease) -> String {
    join(&peer.key.0)
}

fn change(before: &Lease, now: &Lease) -> String {
    match before.attrs.public == now.attrs.public {
        true => format!("{} (what it announces of its device)", words(now)),
        false => format!("{} (was at {})", words(now), join(&before.attrs.public)),
    }
}

/// One line for all of a kind.
fn line(what: &str, peers: Vec<String>) -> Option<String> {
    let (count, named) = (peers.len(), peers.iter().take(NAMED));
    let named: Vec<&str> = named.map(String::as_str).collect();
    match count {
        0 => None,
        1 => Some(format!("peer {what}: {}", named.join(", "))),
        2..=NAMED => Some(format!("{count} peers {what}: {}", named.join(", "))),
        _ => Some(format!(
            "{count} peers {what}: {} and {} more",
            named.join(", "),
            count - NAMED
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tweed_model::{Dual, LeaseAttrs};

    use super::*;

    fn cluster(numbers: impl IntoIterator<Item = (u8, &'static str)>) -> ClusterSnapshot {
        let one = |(number, addr): (u8, &str)| {
            let key: SubnetKey = format!("10.244.{number}.0-24").parse().expect("a key");
            let lease = Lease {
                key,
                attrs: LeaseAttrs {
                    public: Dual::of_addrs([addr.parse().expect("an address")]),
                    backend_type: "vxlan".to_owned(),
                    data: Dual::default(),
                },
                node: None,
                created: 1,
                term: Term::Leased,
            };
            (key, Arc::new(lease))
        };
        ClusterSnapshot {
            leases: numbers.into_iter().map(one).collect(),
            ..ClusterSnapshot::default()
        }
    }

    fn told(before: &ClusterSnapshot, now: &ClusterSnapshot, refused: [Vec<u8>; 2]) -> Vec<String> {
        let own = "10.244.9.0-24".parse().expect("a key");
        let key = |number| format!("10.244.{number}.0-24").parse().expect("a key");
        let refused = refused.map(|numbers| {
            let all = numbers.into_iter();
            all.map(|number| (key(number), Refusal::NothingUsable))
                .collect()
        });
        let peers = |snapshot, refused| Peers {
            snapshot,
            own,
            refused,
        };
        news(peers(before, &refused[0]), peers(now, &refused[1]))
    }

    #[test]
    fn who_joins_leaves_or_moves_is_named() {
        let one = cluster([(1, "192.0.2.1")]);
        let two = cluster([(1, "192.0.2.1"), (2, "192.0.2.2"), (9, "192.0.2.7")]);
        let moved = cluster([(1, "192.0.2.9"), (2, "192.0.2.2")]);
        let none = || [vec![], vec![]];
        let joined = ["peer joined: 10.244.2.0/24 (192.0.2.2)"];
        assert_eq!(told(&one, &two, none()), joined);
        assert_eq!(
            told(&two, &two, [vec![2], vec![]]),
            joined,
            "no longer refused"
        );
        assert_eq!(
            told(&two, &moved, none()),
            ["peer changed: 10.244.1.0/24 (192.0.2.9) (was at 192.0.2.1)"]
        );
        let left = ["peer left: 10.244.2.0/24 (192.0.2.2)"];
        assert_eq!(told(&two, &one, none()), left);
        assert_eq!(told(&two, &two, [vec![], vec![2]]), left, "refused");
        assert!(told(&one, &one, none()).is_empty());
    }

    #[test]
    fn of_many_the_first_are_named_and_the_rest_counted_and_a_minute_has_few_lines() {
        let mut news = PeerNews::default();
        let many = cluster((10..=209).map(|number| (number, "192.0.2.1")));
        let lines = told(&cluster([]), &many, [vec![], vec![]]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("200 peers joined: ") && lines[0].ends_with(" and 197 more"));
        let start = Instant::now();
        let told = (0..100).filter(|_| news.may_be_told(start)).count();
        assert_eq!((told, news.untold), (LINES, 100 - LINES));
        assert!(news.may_be_told(start + MINUTE));
    }
}
