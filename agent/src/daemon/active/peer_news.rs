//! Peers that join, leave or change, as events: the first of many by name and the rest by number, no more than a few in a
//! minute, and of those a few about one peer. A peer that changes all the time hides no other's news.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, Refusal, SubnetKey};

use crate::daemon::per_minute::PerMinute;
use crate::events::event::Event;
use crate::events::journal::Journal;
use crate::events::sentences::{self, NAMED};

/// So many events in a minute.
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

/// What two moments don't share.
#[derive(Default)]
struct News<'a> {
    joined: Vec<&'a Lease>,
    left: Vec<&'a Lease>,
    /// Before and now.
    changed: Vec<(&'a Lease, &'a Lease)>,
}

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
    /// Tells what is new.
    pub(super) fn tell(
        &mut self,
        events: &Journal,
        before: Peers<'_>,
        now: Peers<'_>,
        at: Instant,
    ) {
        for event in self.events(news(before, now), at) {
            events.tell(event);
        }
    }

    /// Logs how much was left out, once a minute.
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

    fn events(&mut self, news: News<'_>, now: Instant) -> Vec<Event> {
        self.sum_up(now);
        let joined = sentences::joined(&self.limited(news.joined, |peer| peer.key, now));
        let left = sentences::left(&self.limited(news.left, |peer| peer.key, now));
        let changed = self.limited(news.changed, |(_, peer)| peer.key, now);
        let changed = sentences::changed(&changed);
        let all = joined.into_iter().chain(left).chain(changed);
        all.filter(|_| self.lines.may_be_told(now)).collect()
    }

    /// Without the peers that were named often enough. Of many at once no single one is the reason.
    fn limited<T>(
        &mut self,
        mut peers: Vec<T>,
        key: impl Fn(&T) -> SubnetKey,
        now: Instant,
    ) -> Vec<T> {
        if peers.len() > NAMED {
            return peers;
        }
        let before = peers.len();
        peers.retain(|peer| {
            let times = self.named.entry(key(peer)).or_default();
            *times += 1;
            *times <= OF_ONE
        });
        self.lines.leave_out(before - peers.len(), now);
        peers
    }
}

impl<'a> Peers<'a> {
    fn get(&self, key: &SubnetKey) -> Option<&'a Lease> {
        let lease = self.snapshot.leases.get(key)?;
        let counts = *key != self.own && !self.refused.contains_key(key) && !is_unused(lease);
        counts.then_some(lease)
    }
}

fn news<'a>(before: Peers<'a>, now: Peers<'a>) -> News<'a> {
    let leases = now.snapshot.leases.changes(&before.snapshot.leases);
    let mut keys: BTreeSet<SubnetKey> = leases.map(|change| *change.key).collect();
    for (these, others) in [(before.refused, now.refused), (now.refused, before.refused)] {
        keys.extend(these.keys().filter(|key| !others.contains_key(key)));
    }
    let mut news = News::default();
    for key in &keys {
        match (before.get(key), now.get(key)) {
            (None, Some(peer)) => news.joined.push(peer),
            (Some(peer), None) => news.left.push(peer),
            (Some(before), Some(peer)) if before.attrs != peer.attrs => {
                news.changed.push((before, peer));
            }
            _ => {}
        }
    }
    news
}

/// A reservation that no node has taken up.
fn is_unused(lease: &Lease) -> bool {
    lease.term == Term::Reserved
        && lease.attrs.backend_type.is_empty()
        && lease.attrs.data.is_empty()
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
        let told = teller.events(
            news(peers(before, &refused[0]), peers(now, &refused[1])),
            at,
        );
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_joins_leaves_or_moves_is_named() {
        let one = cluster([(1, "192.0.2.1")]);
        let two = cluster([(1, "192.0.2.1"), (2, "192.0.2.2"), (9, "192.0.2.7")]);
        let moved = cluster([(1, "192.0.2.9"), (2, "192.0.2.2")]);
        let none = || [vec![], vec![]];
        let joined = ["peer joined: 10.244.2.0/24 at 192.0.2.2"];
        assert_eq!(told(&one, &two, none()), joined);
        assert_eq!(
            told(&two, &two, [vec![2], vec![]]),
            joined,
            "no longer refused"
        );
        assert_eq!(
            told(&two, &moved, none()),
            ["peer moved: 10.244.1.0/24 at 192.0.2.9, was at 192.0.2.1"]
        );
        let left = ["peer left: 10.244.2.0/24 at 192.0.2.2"];
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
        assert_eq!(joined, ["peer joined: 10.244.2.0/24 at 192.0.2.3"]);
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
