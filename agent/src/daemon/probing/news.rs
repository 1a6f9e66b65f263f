//! Peers that stop answering or answer again, as events: one for each of a few, one for many, and no more than a few in a
//! minute.

use std::collections::BTreeMap;
use std::time::Instant;

use tweed_model::Dual;
use tweed_probe::health::State;
use tweed_probe::prober::Turned;

use super::words::{self, note};
use crate::daemon::per_minute::PerMinute;
use crate::events::event::{Event, Named};
use crate::events::journal::Journal;
use crate::events::sentences::{self, NAMED};

/// So many events in a minute.
const LINES: usize = 20;

/// What was told lately.
#[derive(Debug)]
pub(super) struct News(PerMinute);

impl Default for News {
    fn default() -> Self {
        Self(PerMinute::new(LINES))
    }
}

impl News {
    /// Tells of the peers that have turned.
    pub(super) fn tell(&mut self, journal: &Journal, turned: &[Turned], ports: &[u16]) {
        let now = Instant::now();
        for event in events(turned, ports) {
            if self.0.may_be_told(now) {
                journal.tell(event);
            }
        }
        if let Some(left_out) = self.0.summary(now) {
            tracing::info!(left_out, "more peers have turned within a minute");
        }
    }
}

/// The first answer of a new peer is no news.
fn events(turned: &[Turned], ports: &[u16]) -> Vec<Event> {
    let mut states = BTreeMap::<State, Vec<&Turned>>::new();
    for one in turned {
        let first = one.before == State::Unknown && one.now.state == State::Ok;
        if !first && one.now.state != State::Unknown {
            states.entry(one.now.state).or_default().push(one);
        }
    }
    let of_state = |(state, peers): (State, Vec<&Turned>)| match peers.len() {
        ..=NAMED => peers
            .iter()
            .map(|one| event(state, one, &name(one), ports).of_node(named(one)))
            .collect(),
        many => {
            let names: Vec<String> = peers.iter().take(NAMED).map(|one| name(one)).collect();
            let names = format!("{} and {} more", names.join(", "), many - NAMED);
            let first = peers.first();
            let event = first.map(|one| event(state, one, &names, ports));
            event.into_iter().collect::<Vec<_>>()
        }
    };
    states.into_iter().flat_map(of_state).collect()
}

fn event(state: State, one: &Turned, peers: &str, ports: &[u16]) -> Event {
    if state.is_bad() || state == State::Slow {
        let silent = matches!(state, State::NoAnswer | State::NoAnswerByTunnel);
        let why = note(&one.now, ports).unwrap_or_default();
        return sentences::peers_impaired(silent, words::state(state), peers, &why);
    }
    sentences::peers_answer(peers)
}

fn name(one: &Turned) -> String {
    let (key, family) = &one.id;
    let subnet = key.0.get(*family).map(ToString::to_string);
    format!("{} ({})", one.target.underlay, subnet.unwrap_or_default())
}

fn named(one: &Turned) -> Named {
    Named {
        node: None,
        subnets: one.id.0.0,
        public: Dual::of_addrs([one.target.underlay]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tweed_model::Family;
    use tweed_probe::health::Health;
    use tweed_probe::target::Target;

    use super::*;
    use crate::events::kind::Kind;

    fn turned(number: u8, before: State, state: State) -> Turned {
        let key = format!("10.244.{number}.0-24").parse().expect("a key");
        let addr = |text: String| text.parse().expect("an address");
        Turned {
            id: (key, Family::V4),
            target: Target {
                underlay: addr(format!("192.0.2.{number}")),
                tunnel: true,
                mtu: 1450,
            },
            before,
            now: Health {
                state,
                since: Duration::ZERO,
                last_seen: Some(Duration::ZERO),
                rtt: None,
                mtu: None,
                tunnel: true,
            },
        }
    }

    #[test]
    fn of_many_peers_the_first_are_named_with_what_their_state_means() {
        let many: Vec<_> = (1..=5)
            .map(|number| turned(number, State::Ok, State::NoAnswerByTunnel))
            .collect();
        let told = events(&many, &[8472]);
        let event = told.first().expect("an event");
        assert_eq!((told.len(), event.kind), (1, Kind::PeerSilent));
        let peers = "no answer by tunnel: 192.0.2.1 (10.244.1.0/24), 192.0.2.2 (10.244.2.0/24), \
                     192.0.2.3 (10.244.3.0/24) and 2 more: ";
        assert!(event.text.starts_with(peers), "{event}");
        assert!(event.text.contains("UDP 8472"), "{event}");
        // One alone is named for programs too.
        let one = events(&many[..1], &[8472]);
        let peer = one[0].peer.as_ref().expect("a peer");
        assert_eq!(peer.subnets, many[0].id.0.0);
    }

    #[test]
    fn a_new_peers_first_answer_is_no_news_and_a_lost_ones_is() {
        assert!(events(&[turned(1, State::Unknown, State::Ok)], &[]).is_empty());
        let back = events(&[turned(1, State::NoAnswer, State::Ok)], &[]);
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].text, "answers again: 192.0.2.1 (10.244.1.0/24)");
    }
}
