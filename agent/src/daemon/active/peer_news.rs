//! Peers that join, leave or change, for the log: the first of many by name and the rest by number, no more than a few
//! lines in a minute, and of those a few about one peer. A peer that changes all the time hides no other's news.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, Refusal, SubnetKey, shown};

use crate::daemon::per_minute::PerMinute;
use crate::daemon::session::join;

/// So many peers of one piece of news are named.
const NAMED: usize = 3;
/// So many lines in a minute.
const LINES: usize = 20;
/// So many of them name one peer.
const OF_ONE: usize = 3;

/// The peers at one moment.
#[derive(Clone, Copy)]
pub(super) struct Peers<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    /// The own lease, which is no peer.
    pub(super) own: SubnetKey,
    pub(super) refused: &'a BTreeMap<SubnetKey, Refusal>,
}

/// A peer, and what is said of it.
type Line = (SubnetKey, String);

/// What was told lately.
#[derive(Debug)]
pub(super) struct PeerNews {
    lines: PerMinute,
    /// How often each peer was named in this minute.
    named: BTreeMap<SubnetKey, usize>,
}

impl Default for PeerNews {
    fn default() -> Self {
        Self {
            lines: PerMinute::new(LINES),
            named: BTreeMap::new(),
        }
    }
}

impl PeerNews {
    /// Logs what is new.
    pub(super) fn log(&mut self, before: Peers<'_>, now: Peers<'_>, at: Instant) {
        for line in self.lines(news(before, now), at) {
            tracing::info!("{line}");
        }
    }

    /// Says how much was left out, once a minute.
    pub(super) fn sum_up(&mut self, now: Instant) {
        if self.lines.is_over(now) {
            self.named.clear();
        }
        if let Some(more) = self.lines.summary(now) {
            tracing::info!(
                more,
                "peers joined, left or changed more often than is told"
            );
        }
    }

    fn lines(&mut self, news: [(&str, Vec<Line>); 3], now: Instant) -> Vec<String> {
        self.sum_up(now);
        let lines = news.map(|(what, peers)| line(what, &self.limited(peers, now)));
        let lines = lines.into_iter().flatten();
        lines.filter(|_| self.lines.may_be_told(now)).collect()
    }

    /// Without the peers that were named often enough. Of many at once no single one is the reason.
    fn limited(&mut self, mut peers: Vec<Line>, now: Instant) -> Vec<Line> {
        if peers.len() > NAMED {
            return peers;
        }
        let before = peers.len();
        peers.retain(|(key, _)| {
            let times = self.named.entry(*key).or_default();
            *times += 1;
            *times <= OF_ONE
        });
        self.lines.leave_out(before - peers.len(), now);
        peers
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
fn news(before: Peers<'_>, now: Peers<'_>) -> [(&'static str, Vec<Line>); 3] {
    let leases = now.snapshot.leases.changes(&before.snapshot.leases);
    let mut keys: BTreeSet<SubnetKey> = leases.map(|change| *change.key).collect();
    for (these, others) in [(before.refused, now.refused), (now.refused, before.refused)] {
        keys.extend(these.keys().filter(|key| !others.contains_key(key)));
    }
    let (mut joined, mut left, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for key in &keys {
        match (before.get(key), now.get(key)) {
            (None, Some(peer)) => joined.push((*key, words(peer))),
            (Some(peer), None) => left.push((*key, words(peer))),
            (Some(before), Some(peer)) if before.attrs != peer.attrs => {
                changed.push((*key, change(before, peer)));
            }
            _ => {}
        }
    }
    [("joined", joined), ("left", left), ("changed", changed)]
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
        .map_or_else(String::new, |node| format!("{}, ", shown(node)));
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
fn line(what: &str, peers: &[Line]) -> Option<String> {
    let (count, named) = (peers.len(), peers.iter().take(NAMED));
    let named: Vec<&str> = named.map(|(_, words)| words.as_str()).collect();
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
    use std::time::Duration;

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
        told_by(
            &mut PeerNews::default(),
            (before, now),
            refused,
            Instant::now(),
        )
    }

    fn told_by(
        teller: &mut PeerNews,
        (before, now): (&ClusterSnapshot, &ClusterSnapshot),
        refused: [Vec<u8>; 2],
        at: Instant,
    ) -> Vec<String> {
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
        teller.lines(
            news(peers(before, &refused[0]), peers(now, &refused[1])),
            at,
        )
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
    fn of_many_the_first_are_named_and_the_rest_counted() {
        let many = cluster((10..=209).map(|number| (number, "192.0.2.1")));
        let lines = told(&cluster([]), &many, [vec![], vec![]]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("200 peers joined: ") && lines[0].ends_with(" and 197 more"));
    }

    #[test]
    fn a_peer_that_changes_all_the_time_is_named_a_few_times_and_hides_no_others_news() {
        let (mut teller, start) = (PeerNews::default(), Instant::now());
        let ends = [cluster([(1, "192.0.2.1")]), cluster([(1, "192.0.2.2")])];
        let mut tell =
            |before, now, at| told_by(&mut teller, (before, now), Default::default(), at);
        let mut lines = Vec::new();
        for round in 0..100 {
            lines.extend(tell(&ends[round % 2], &ends[(round + 1) % 2], start));
        }
        assert_eq!(lines.len(), OF_ONE, "{lines:?}");
        let more = cluster([(1, "192.0.2.2"), (2, "192.0.2.3")]);
        let joined = tell(&ends[0], &more, start);
        assert_eq!(joined, ["peer joined: 10.244.2.0/24 (192.0.2.3)"]);
        // A minute later it is named again.
        let later = start + Duration::from_secs(60);
        assert_eq!(tell(&ends[0], &ends[1], later).len(), 1);
    }

    #[test]
    fn a_nodes_name_is_cut_and_can_do_nothing_to_a_log() {
        let (key, mut lease) = cluster([(1, "192.0.2.1")])
            .leases
            .iter()
            .map(|(key, lease)| (*key, lease.clone()))
            .next()
            .expect("a lease");
        Arc::make_mut(&mut lease).node = Some(format!("evil\n\u{1b}[31m{}", "x".repeat(5_000)));
        let named = ClusterSnapshot {
            leases: [(key, lease)].into_iter().collect(),
            ..ClusterSnapshot::default()
        };
        let lines = told(&cluster([]), &named, [vec![], vec![]]);
        let line = lines.first().expect("a line");
        assert!(line.len() < 400, "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}
