//! Peers that stop answering or answer again, for the log: the first of many by name, and no more than a few lines in a
//! minute.

use std::collections::BTreeMap;
use std::time::Instant;

use tweed_probe::health::State;
use tweed_probe::prober::Turned;

use super::words::{self, note};
use crate::daemon::per_minute::PerMinute;

/// So many peers of one state are named.
const ONES_NAMED: usize = 3;
/// So many lines in a minute.
const LINES: usize = 20;

/// The lines of the log.
#[derive(Debug)]
pub(super) struct News(PerMinute);

impl Default for News {
    fn default() -> Self {
        Self(PerMinute::new(LINES))
    }
}

impl News {
    /// Logs the peers that have turned.
    pub(super) fn log(&mut self, turned: &[Turned], ports: &[u16]) {
        let now = Instant::now();
        for (state, line, why) in lines(turned, ports) {
            if !self.0.may_be_told(now) {
                continue;
            }
            match state.is_bad() || state == State::Slow {
                true => tracing::warn!(peers = line, why, "{}", words::state(state)),
                false => tracing::info!(peers = line, "answer again"),
            }
        }
        if let Some(left_out) = self.0.summary(now) {
            tracing::info!(left_out, "more peers have turned within a minute");
        }
    }
}

/// Of each state its peers, and what it means. The first answer of a new peer is no news.
fn lines(turned: &[Turned], ports: &[u16]) -> Vec<(State, String, String)> {
    let mut states = BTreeMap::<State, Vec<&Turned>>::new();
    for one in turned {
        let first = one.before == State::Unknown && one.now.state == State::Ok;
        if !first && one.now.state != State::Unknown {
            states.entry(one.now.state).or_default().push(one);
        }
    }
    let line = |(state, peers): (State, Vec<&Turned>)| {
        let name = |one: &&Turned| {
            let (key, family) = &one.id;
            let subnet = key.0.get(*family).map(ToString::to_string);
            format!("{} ({})", subnet.unwrap_or_default(), one.target.underlay)
        };
        let named: Vec<String> = peers.iter().take(ONES_NAMED).map(name).collect();
        let more = match peers.len().saturating_sub(ONES_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let why = peers.first().and_then(|one| note(&one.now, ports));
        (state, named.join(", ") + &more, why.unwrap_or_default())
    };
    states.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tweed_model::Family;
    use tweed_probe::health::Health;
    use tweed_probe::target::Target;

    use super::*;

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
        let lines = lines(&many, &[8472]);
        let (state, peers, why) = lines.first().expect("a line");
        assert_eq!(*state, State::NoAnswerByTunnel);
        assert_eq!(
            peers,
            "10.244.1.0/24 (192.0.2.1), 10.244.2.0/24 (192.0.2.2), 10.244.3.0/24 (192.0.2.3) and 2 more"
        );
        assert!(why.contains("UDP 8472"), "{why}");
    }

    #[test]
    fn a_new_peers_first_answer_is_no_news_and_a_lost_ones_is() {
        assert!(lines(&[turned(1, State::Unknown, State::Ok)], &[]).is_empty());
        let back = lines(&[turned(1, State::NoAnswer, State::Ok)], &[]);
        assert_eq!(back.len(), 1);
    }
}
