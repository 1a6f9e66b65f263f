//! What stands under the own key, and what that makes of its holder: the rule of keeping, shared by all stores.

use std::net::IpAddr;

use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep};
use tweed_model::lease::Term;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, Lease, SubnetKey};

use super::Holding;
use super::backoff::{Backoff, QUIET};
use super::claim::{same_holder, same_public};

/// What stands under the own key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Our entry, though its text may have been edited.
    Ours,
    /// Something that can't be read. Nobody else can use it either.
    Unreadable,
    /// Somebody else's entry, or one that overlaps ours and was there first.
    Taken(Dual<IpAddr>),
    /// Nothing, and the subnet is free.
    Gone,
}

/// Judges the content of a store. `by_us` tells whether an entry bears a mark that only this process can have left.
pub(crate) fn find(
    own: &Lease,
    leases: &[&Lease],
    unreadable: &[SubnetKey],
    by_us: impl Fn(&Lease) -> bool,
) -> Finding {
    if unreadable.contains(&own.key) {
        return Finding::Unreadable;
    }
    let stored = leases.iter().find(|lease| lease.key == own.key);
    let created = stored.map_or(u64::MAX, |lease| lease.created);
    let first = |other: &&&Lease| other.created < created && keys_overlap(&other.key, &own.key);
    if let Some(first) = leases.iter().find(first) {
        return Finding::Taken(first.attrs.public);
    }
    let Some(stored) = stored else {
        let blocked = unreadable.iter().any(|other| keys_overlap(other, &own.key));
        return if blocked {
            Finding::Taken(Dual::default())
        } else {
            Finding::Gone
        };
    };
    let unclaimed = stored.term == Term::Reserved
        && stored.attrs.data.is_empty()
        && same_public(&stored.attrs, &own.attrs);
    if unclaimed || same_holder(&stored.attrs, &own.attrs) || by_us(stored) {
        Finding::Ours
    } else {
        Finding::Taken(stored.attrs.public)
    }
}

/// Reports a standing, if it is news.
pub(crate) fn say(standing: &Sender<Holding>, holding: Holding) {
    standing.send_if_modified(|current| {
        let news = holding.is_news(current);
        if news {
            *current = holding;
        }
        news
    });
}

/// Reports that the store can't be reached, and when it answered last.
pub(crate) fn say_unsure(standing: &Sender<Holding>, reason: impl ToString, since: Instant) {
    let (reason, since) = (reason.to_string(), since.into_std());
    say(standing, Holding::Unsure { reason, since });
}

/// Reports a loss. The first reason is the best one.
pub(crate) fn say_lost(standing: &Sender<Holding>, reason: String) {
    standing.send_if_modified(|current| {
        let news = !matches!(current, Holding::Lost { .. });
        if news {
            *current = Holding::Lost { reason };
        }
        news
    });
}

/// Slows repairs down while somebody keeps undoing them.
#[derive(Default)]
pub(crate) struct Fight {
    last: Option<Instant>,
    pace: Backoff,
}

impl Fight {
    /// Waits before the next repair, if the last one was a moment ago.
    pub(crate) async fn pause(&mut self) {
        match self.last {
            Some(last) if last.elapsed() < QUIET => sleep(self.pace.next()).await,
            _ => self.pace = Backoff::default(),
        }
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tweed_model::LeaseAttrs;

    fn lease(key: &str, addr: &str, mac: Option<&str>, created: u64) -> Lease {
        Lease {
            key: key.parse().unwrap(),
            attrs: LeaseAttrs {
                public: Dual::of_addrs([addr.parse().unwrap()]),
                backend_type: "vxlan".into(),
                data: Dual {
                    v4: mac.map(|mac| json!({"VtepMAC": mac}).into()),
                    v6: None,
                },
            },
            node: None,
            created,
            term: Term::Leased,
        }
    }

    fn found(stored: &[Lease], unreadable: &[&str]) -> Finding {
        let own = lease("10.5.9.0-24", "10.0.0.1", Some("a"), 5);
        let unreadable: Vec<_> = unreadable.iter().map(|key| key.parse().unwrap()).collect();
        find(
            &own,
            &stored.iter().collect::<Vec<_>>(),
            &unreadable,
            |_| false,
        )
    }

    fn by(addr: &str) -> Finding {
        Finding::Taken(Dual::of_addrs([addr.parse().unwrap()]))
    }

    #[test]
    fn the_holder_decides_not_the_rest_of_the_text() {
        let mut edited = lease("10.5.9.0-24", "10.0.0.1", Some("a"), 5);
        edited.attrs.backend_type = "edited".into();
        assert_eq!(found(&[edited], &[]), Finding::Ours);
        assert_eq!(
            found(&[lease("10.5.9.0-24", "10.0.0.2", Some("a"), 5)], &[]),
            by("10.0.0.2")
        );
        assert_eq!(
            found(&[lease("10.5.9.0-24", "10.0.0.1", Some("b"), 5)], &[]),
            by("10.0.0.1")
        );
    }

    #[test]
    fn a_mark_of_our_own_outweighs_a_stranger_s_text() {
        let own = lease("10.5.9.0-24", "10.0.0.1", Some("a"), 5);
        let garbled = lease("10.5.9.0-24", "10.0.0.2", None, 5);
        assert_eq!(find(&own, &[&garbled], &[], |_| true), Finding::Ours);
    }

    #[test]
    fn a_fresh_reservation_over_the_own_key_is_ours() {
        let mut reserved = lease("10.5.9.0-24", "10.0.0.1", None, 5);
        reserved.term = Term::Reserved;
        assert_eq!(found(&[reserved], &[]), Finding::Ours);
    }

    #[test]
    fn of_overlapping_leases_the_first_one_created_holds() {
        let own = lease("10.5.9.0-24", "10.0.0.1", Some("a"), 5);
        let earlier = lease("10.5.8.0-23", "10.0.0.2", None, 4);
        let later = lease("10.5.9.0-25", "10.0.0.3", None, 6);
        assert_eq!(found(&[own.clone(), later], &[]), Finding::Ours);
        assert_eq!(found(&[own, earlier], &[]), by("10.0.0.2"));
    }

    #[test]
    fn a_missing_key_is_free_only_if_nothing_overlaps_it() {
        assert_eq!(found(&[], &[]), Finding::Gone);
        assert_eq!(
            found(&[lease("10.5.8.0-23", "10.0.0.2", None, 9)], &[]),
            by("10.0.0.2")
        );
        assert_eq!(
            found(&[], &["10.5.8.0-23"]),
            Finding::Taken(Dual::default())
        );
        assert_eq!(found(&[], &["10.5.9.0-24"]), Finding::Unreadable);
    }
}
