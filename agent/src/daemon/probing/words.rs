//! What a peer's state means, in words.

use std::time::Duration;

use tweed_probe::health::{Health, State};

/// The state in words.
pub fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Slow => "slow",
        State::Unknown => "unknown",
        State::MtuReduced => "MTU reduced",
        State::NoAnswerByTunnel => "no answer by tunnel",
        State::NoAnswer => "no answer",
    }
}

/// What comes or doesn't from a peer of a bad state.
pub(super) fn from(state: State) -> &'static str {
    match state {
        State::NoAnswerByTunnel => "no answer by tunnel from",
        State::NoAnswer => "no answer from",
        _ => "not all packets reach",
    }
}

/// Why, where something is wrong. `ports` are the tunnels'.
pub(super) fn note(health: &Health, ports: &[u16]) -> Option<String> {
    let note = match health.state {
        State::Ok => return None,
        State::Slow => format!(
            "an answer takes {}, much more than it did",
            short(health.rtt.unwrap_or_default())
        ),
        State::Unknown if health.last_seen.is_none() => "it has not answered yet".to_owned(),
        State::Unknown => return None,
        State::MtuReduced => format!(
            "packets above {} bytes don't get there: a smaller MTU on the way",
            health.mtu.unwrap_or_default()
        ),
        State::NoAnswerByTunnel => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let ports = ports.join(" or ");
            format!("it answers beside the tunnel: is UDP {ports} blocked on one of the two hosts?")
        }
        State::NoAnswer if health.tunnel => {
            "it answers neither through the tunnel nor beside it: is its host down?".to_owned()
        }
        State::NoAnswer => "its host is down, or lets no echoes in any more".to_owned(),
    };
    Some(note)
}

/// Values with spaces between them.
pub fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    values.join(" ")
}

/// `0.2 ms`, `37 ms`, `1.2 s`.
pub fn short(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        ..9.95 => format!("{milliseconds:.1} ms"),
        ..999.5 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
