//! What the userspace data plane promises, and whether it keeps it.

use super::paths::Mode;
use super::series::Series;
use crate::bench::Row;

/// A comparison of medians.
struct Goal {
    what: &'static str,
    /// Whether more is better.
    rate: bool,
    other: Mode,
    /// The bound, if one was promised.
    bound: Option<f64>,
}

const fn at_least(what: &'static str, other: Mode, bound: f64) -> Goal {
    Goal {
        what,
        rate: true,
        other,
        bound: Some(bound),
    }
}

const fn at_most(what: &'static str, other: Mode, bound: f64) -> Goal {
    Goal {
        rate: false,
        ..at_least(what, other, bound)
    }
}

const fn told(what: &'static str, other: Mode) -> Goal {
    Goal {
        bound: None,
        ..at_least(what, other, 0.0)
    }
}

const GOALS: [Goal; 18] = [
    at_least("TCP, 1 stream", Mode::Naive, 5.0),
    at_least("TCP, 4 streams", Mode::Naive, 5.0),
    told("TCP, 1 stream", Mode::ByHand),
    told("TCP, 4 streams", Mode::ByHand),
    told("TCP with BBR, 1 stream", Mode::ByHand),
    told("TCP with BBR, 4 streams", Mode::ByHand),
    at_least("64-byte datagrams, 1 flow", Mode::ByHand, 1.8),
    at_least("64-byte datagrams, 4 flows", Mode::ByHand, 1.2),
    at_least("4 flows of 64, 256, 700 and 1400 bytes", Mode::ByHand, 1.2),
    at_least("32 flows of 64, 256, 700 and 1400 bytes", Mode::ByHand, 1.2),
    at_least("4 flows of 64 to 1400 bytes in turns", Mode::ByHand, 1.2),
    at_least("32 flows of 64 to 1400 bytes in turns", Mode::ByHand, 1.2),
    told("4 conversations at once, questions", Mode::ByHand),
    told("32 conversations at once, questions", Mode::ByHand),
    at_most(
        "there and back, a processor for each host, UDP, median",
        Mode::ByHand,
        1.4,
    ),
    at_most(
        "there and back, a processor for each host, TCP, median",
        Mode::ByHand,
        1.4,
    ),
    at_most("64 bytes there and back, UDP, median", Mode::ByHand, 1.4),
    at_most("64 bytes there and back, TCP, median", Mode::ByHand, 1.4),
];

/// What the figures among a thousand peers should be of those among three. Two runs of the same differ by some per cent.
const CROWD: f64 = 0.9;

/// A row for each figure among a thousand peers.
pub fn crowd(series: &[Series]) -> Vec<Row> {
    let row = |series: &Series| {
        let (ours, other) = (series.median(Mode::Crowd)?, series.median(Mode::Udp)?);
        let what = format!("1,000 peers: {}", series.what);
        let row = Row::at_least(&what, ours, ("3 peers", other), series.unit, CROWD);
        Some(row)
    };
    series.iter().filter_map(row).collect()
}

/// A row for each goal whose figures were taken.
pub fn rows(series: &[Series]) -> Vec<Row> {
    let row = |goal: &Goal| {
        let series = series.iter().find(|series| series.what == goal.what)?;
        let (ours, other) = (series.median(Mode::Udp)?, series.median(goal.other)?);
        let shown = |value: f64| format!("{value:.*} {}", series.digits, series.unit);
        let ratio = ours / other;
        Some(Row {
            what: goal.what.to_owned(),
            ours: shown(ours),
            other: format!("{} {}", goal.other.name(), shown(other)),
            ratio: format!("{ratio:.2}"),
            goal: goal.bound.map_or(String::new(), |bound| {
                format!("{} {bound}", if goal.rate { '≥' } else { '≤' })
            }),
            met: goal.bound.map(|bound| {
                if goal.rate {
                    ratio >= bound
                } else {
                    ratio <= bound
                }
            }),
        })
    };
    GOALS.iter().filter_map(row).collect()
}
