//! Peers that join, leave or change, for the log: the first of many by name and the rest by number, and no more than a few
//! lines in a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, Refusal, SubnetKey};

use crate::daemon::session::join;

/// So many peers of one piece of news are named.
const NAMED: usize = 3;
/// So many lines in a minute.
const LINES: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

type Peers = BTreeMap<SubnetKey, Arc<Lease>>;

/// The peers as they were told last.
#[derive(Debug, Default)]
pub(super) struct PeerNews {
    known: Option<Peers>,
    since: Option<Instant>,
    lines: usize,
    untold: usize,
}

impl PeerNews {
    /// Logs what is new.
    pub(super) fn log(
        &mut self,
        snapshot: &ClusterSnapshot,
        own: SubnetKey,
        refused: &BTreeMap<SubnetKey, Refusal>,
        now: Instant,
    ) {
        let leases = snapshot.leases.iter();
        let peers = leases
            .filter(|(key, lease)| **key != own && !refused.contains_key(key) && !is_unused(lease));
        let peers: Peers = peers
            .map(|(key, lease)| (*key, Arc::clone(lease)))
            .collect();
        for line in self.news(peers) {
            if self.may_be_told(now) {
                tracing::info!("{line}");
            }
        }
    }

    fn news(&mut self, peers: Peers) -> Vec<String> {
        let Some(known) = self.known.replace(peers) else {
            return Vec::new();
        };
        let Some(peers) = &self.known else {
            return Vec::new();
        };
        let joined = peers.values().filter(|peer| !known.contains_key(&peer.key));
        let left = known.values().filter(|peer| !peers.contains_key(&peer.key));
        let changed = peers.values().filter_map(|peer| {
            let before = known.get(&peer.key)?;
            let same = Arc::ptr_eq(before, peer) || before.attrs == peer.attrs;
            (!same).then(|| change(before, peer))
        });
        let lines = [
            line("joined", joined.map(|peer| words(peer)).collect()),
            line("left", left.map(|peer| words(peer)).collect()),
            line("changed", changed.collect()),
        ];
        lines.into_iter().flatten().collect()
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
    use tweed_model::{Dual, LeaseAttrs};

    use super::*;

    fn peers(numbers: impl IntoIterator<Item = (u8, &'static str)>) -> Peers {
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
        numbers.into_iter().map(one).collect()
    }

    #[test]
    fn who_joins_leaves_or_moves_is_named() {
        let mut news = PeerNews::default();
        assert!(
            news.news(peers([(1, "192.0.2.1")])).is_empty(),
            "the first list"
        );
        assert_eq!(
            news.news(peers([(1, "192.0.2.1"), (2, "192.0.2.2")])),
            ["peer joined: 10.244.2.0/24 (192.0.2.2)"]
        );
        assert_eq!(
            news.news(peers([(1, "192.0.2.9"), (2, "192.0.2.2")])),
            ["peer changed: 10.244.1.0/24 (192.0.2.9) (was at 192.0.2.1)"]
        );
        assert_eq!(
            news.news(peers([(1, "192.0.2.9")])),
            ["peer left: 10.244.2.0/24 (192.0.2.2)"]
        );
        assert!(news.news(peers([(1, "192.0.2.9")])).is_empty());
    }

    #[test]
    fn of_many_the_first_are_named_and_the_rest_counted_and_a_minute_has_few_lines() {
        let mut news = PeerNews::default();
        news.news(Peers::new());
        let lines = news.news(peers((1..=200).map(|number| (number, "192.0.2.1"))));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("200 peers joined: ") && lines[0].ends_with(" and 197 more"));
        let start = Instant::now();
        let told = (0..100).filter(|_| news.may_be_told(start)).count();
        assert_eq!((told, news.untold), (LINES, 100 - LINES));
        assert!(news.may_be_told(start + MINUTE));
    }
}
