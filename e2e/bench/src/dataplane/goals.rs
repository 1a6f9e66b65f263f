//! Goals of the userspace data plane, and whether it reaches them.

use super::paths::Mode;
use super::series::Series;
use crate::row::Row;

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
        let what = format!("1,000 peers: {}", series.what);
        row(
            series,
            what,
            [Mode::Crowd, Mode::Udp],
            "3 peers",
            (true, Some(CROWD)),
        )
    };
    series.iter().filter_map(row).collect()
}

/// A row for each goal whose figures were taken.
pub fn rows(series: &[Series]) -> Vec<Row> {
    let row = |goal: &Goal| {
        let series = series.iter().find(|series| series.what == goal.what)?;
        let what = goal.what.to_owned();
        let modes = [Mode::Udp, goal.other];
        row(
            series,
            what,
            modes,
            goal.other.name(),
            (goal.rate, goal.bound),
        )
    };
    GOALS.iter().filter_map(row).collect()
}

/// The medians of two modes, the second with a name, and the ratio of their rounds against a bound, if one was promised:
/// at least that much of a rate, at most that much of a time.
fn row(
    series: &Series,
    what: String,
    [ours, other]: [Mode; 2],
    name: &str,
    (rate, bound): (bool, Option<f64>),
) -> Option<Row> {
    let ratio = series.ratio(ours, other)?;
    let shown = |mode| {
        let median = series.median(mode)?;
        Some(format!("{median:.*} {}", series.digits, series.unit))
    };
    let sign = if rate { '≥' } else { '≤' };
    Some(Row {
        what,
        ours: shown(ours)?,
        other: format!("{name} {}", shown(other)?),
        ratio: format!("{ratio:.2}"),
        goal: bound.map_or(String::new(), |bound| format!("{sign} {bound}")),
        met: bound.map(|bound| if rate { ratio >= bound } else { ratio <= bound }),
    })
}
