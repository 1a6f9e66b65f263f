//! Reports to the cluster: that the node's network works, at once; that it doesn't, after a while; and what keeps the
//! container runtime from using it. The service manager gets its reports here too.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tweed_store::{Health, NodeEvent, NodeReport};

use super::service::Service;
use super::{Keeper, News, SOON, next_look};
use crate::daemon::facts::Facts;
use crate::daemon::readiness;
use crate::daemon::status::Status;
use crate::events::kind::Weight;

/// How long the network may be down before the cluster is told: longer than a restart or a new session takes.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a network that works is looked at.
const LOOK_WHEN_UP: Duration = Duration::from_secs(10);

/// So many of the last events are in a report: what reads it may be late.
const EVENTS: usize = 16;
/// So many peers that don't answer are told of.
const PEERS: usize = 3;

/// Keeps the report up to date.
pub struct NodeReports {
    clock: Clock,
    service: Service,
    tell: watch::Sender<NodeReport>,
    /// Number of the last event that the report has, or that is none of the cluster's.
    last_event: u64,
    due: Instant,
}

impl NodeReports {
    /// Reports through this channel.
    pub fn new(tell: watch::Sender<NodeReport>, now: Instant) -> Self {
        Self {
            clock: Clock::default(),
            service: Service::new(now),
            tell,
            last_event: 0,
            due: now,
        }
    }
}

impl NodeReports {
    /// What has happened since the last report, and in this process, that clusters are told.
    fn happened(&mut self, facts: &Facts) -> Vec<NodeEvent> {
        if facts.events.last() == self.last_event {
            return Vec::new();
        }
        let since = facts.agent.started.unwrap_or_default();
        let events = facts.events.after(self.last_event);
        self.last_event = facts.events.last();
        let events = events.into_iter().filter(|event| event.at >= since);
        let told = events.filter_map(|event| {
            let row = event.kind.row();
            Some(NodeEvent {
                number: event.number,
                reason: row.reason?,
                warning: row.weight != Weight::Info,
                note: event.to_string(),
            })
        });
        told.collect()
    }
}

impl Keeper for NodeReports {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        if now < self.due {
            return None;
        }
        let down = readiness::network_down(facts);
        self.service.look(&Status::of(facts, now), now);
        let health = self.clock.look(down, now);
        let cni = facts.cni.as_ref();
        let cni_warnings = cni.map(|cni| cni.error.iter().chain(&cni.warnings).cloned().collect());
        let cni_warnings: Vec<String> = cni_warnings.unwrap_or_default();
        let warnings = facts.warnings().map(|warning| &warning.text);
        let host_warnings: Vec<String> = warnings.chain(&facts.host).cloned().collect();
        let bad = facts.cluster.answers.bad.iter().take(PEERS);
        let peer_warnings: Vec<String> = bad.map(ToString::to_string).collect();
        let happened = self.happened(facts);
        self.tell.send_if_modified(|told| {
            let mut events = told.events.clone();
            events.extend(happened);
            events.drain(..events.len().saturating_sub(EVENTS));
            let news = events != told.events
                || worth_telling(&told.health, &health)
                || told.peer_warnings != peer_warnings
                || told.cni_warnings != cni_warnings
                || told.host_warnings != host_warnings;
            if news {
                *told = NodeReport {
                    health,
                    cni_warnings,
                    host_warnings,
                    peer_warnings,
                    events,
                };
            }
            news
        });
        let up = matches!(self.tell.borrow().health, Health::Up);
        self.due = match up {
            true => next_look(now, LOOK_WHEN_UP),
            false => now + SOON,
        };
        None
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }
}

/// Whether the health has changed; another reason for the same health is not reported.
fn worth_telling(told: &Health, health: &Health) -> bool {
    std::mem::discriminant(told) != std::mem::discriminant(health)
}

/// Remembers since when the network is down.
#[derive(Default)]
struct Clock {
    health: Health,
    down_since: Option<Instant>,
}

impl Clock {
    fn look(&mut self, down: Option<String>, now: Instant) -> Health {
        let Some(reason) = down else {
            self.down_since = None;
            self.health = Health::Up;
            return Health::Up;
        };
        let since = *self.down_since.get_or_insert(now);
        if now.duration_since(since) >= TIMEOUT {
            self.health = Health::Down { reason };
        }
        self.health.clone()
    }
}

#[cfg(test)]
mod tests {
    use tweed_model::Dual;
    use tweed_probe::health::State;

    use super::*;
    use crate::daemon::probing::{BadPeer, PeerProbe};
    use crate::events::event::Event;
    use crate::events::sentences;

    #[test]
    fn peers_that_do_not_answer_are_told_by_name_a_few_of_many() {
        let (tell, mut told) = watch::channel(NodeReport::default());
        let now = Instant::now();
        let mut reports = NodeReports::new(tell, now);
        let mut facts = Facts::default();
        let bad = |number: u8| BadPeer {
            lease: format!("10.244.{number}.0-24"),
            subnets: Dual::of_nets([format!("10.244.{number}.0/24").parse().expect("a subnet")]),
            public: Dual::of_addrs([format!("192.0.2.{number}").parse().expect("an address")]),
            probe: PeerProbe {
                state: State::NoAnswer,
                since: 1,
                last_seen: None,
                rtt_us: None,
                mtu: None,
                note: Some("is its host down?".to_owned()),
            },
        };
        facts.cluster.answers.bad = (1..=9).map(bad).collect();
        reports.look(&mut facts, now);
        let warnings = told.borrow_and_update().peer_warnings.clone();
        assert_eq!(warnings.len(), PEERS);
        assert_eq!(
            warnings[0],
            "no answer from 192.0.2.1 (10.244.1.0/24): is its host down?"
        );
    }

    #[test]
    fn what_has_happened_in_this_process_is_told_once_where_clusters_are_told_it() {
        let (tell, mut told) = watch::channel(NodeReport::default());
        let now = Instant::now();
        let mut reports = NodeReports::new(tell, now);
        let mut facts = Facts::default();
        facts.agent.started = Some(1_000);
        let earlier = Event {
            number: 3,
            at: 900,
            ..sentences::repair("route a")
        };
        facts.events.restore(vec![earlier]);
        facts.events.tell(sentences::repair("route b"));
        facts.events.tell(sentences::store_back());
        facts.events.tell(sentences::not_ready(&[]));
        reports.look(&mut facts, now);
        let events = told.borrow_and_update().events.clone();
        let reasons: Vec<_> = events
            .iter()
            .map(|event| (event.reason, event.warning))
            .collect();
        assert_eq!(
            reasons,
            [("NetworkRepaired", false), ("NetworkNotReady", true)]
        );
        assert!(events[0].note.ends_with("route b"), "{events:?}");
        reports.look(&mut facts, now + Duration::from_secs(60));
        assert_eq!(told.borrow_and_update().events, events, "once");
    }

    #[test]
    fn down_is_told_after_a_while_and_up_at_once() {
        let mut clock = Clock::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let why = || Some("why".to_owned());
        assert_eq!(clock.look(why(), at(0)), Health::Unknown);
        assert_eq!(clock.look(None, at(5)), Health::Up);
        assert_eq!(clock.look(why(), at(10)), Health::Up);
        assert_eq!(clock.look(None, at(65)), Health::Up);
        // The time begins anew.
        assert_eq!(clock.look(why(), at(75)), Health::Up);
        let down = Health::Down {
            reason: "why".to_owned(),
        };
        assert_eq!(clock.look(why(), at(135)), down);
        assert_eq!(clock.look(None, at(136)), Health::Up);
    }
}
