//! What is measured on every path, and the order in which: each mode in turns, and each as often the first.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apart::{self, Apart};
use super::iperf::{self, Load};
use super::latency;
use super::machine::Watch;
use super::paths::Path;
use super::series::Series;
use tweed_lab::flood::{DIFFERENT, Flood, MIXED, Mix, Sink};

/// What is left of a flood in buffers is gone by then.
const SETTLE: Duration = Duration::from_millis(200);

/// Streams have found their speed by then.
const BEGINNING: Duration = Duration::from_millis(800);

/// Processors that may be busy with something else while processor time is measured.
const QUIET: f64 = 0.2;

/// None where a path could not do it at all.
type Measure = Box<dyn Fn(&Path<'_>) -> Result<Vec<Option<f64>>>>;

/// A measurement that gives a figure for each of its series.
pub struct Probe {
    series: Vec<Series>,
    measure: Measure,
}

/// How long each measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Of TCP, in seconds.
    pub bulk: u32,
    /// Of small packets.
    pub flood: Duration,
    /// Of each kind of ping-pong.
    pub latency: Duration,
}

impl Probe {
    /// A measurement of one figure.
    pub fn one(
        series: Series,
        measure: impl Fn(&Path<'_>) -> Result<Option<f64>> + 'static,
    ) -> Self {
        Self {
            series: vec![series],
            measure: Box::new(move |path| Ok(vec![measure(path)?])),
        }
    }

    /// Whether a series' name has this in it.
    pub fn is_called(&self, part: &str) -> bool {
        self.series.iter().any(|series| series.what.contains(part))
    }

    /// TCP, as many bytes as go.
    pub fn bulk(what: &'static str, streams: u32, congestion: &'static str, spans: Spans) -> Self {
        let load = Load::bulk(streams, congestion, spans.bulk);
        Self::one(Series::new(what, "Gbit/s", 2), move |path| {
            Ok(Some(load.run(path.from(), path.to())?.rate * 1e-9))
        })
    }

    /// Small datagrams, as many as arrive.
    pub fn flood(what: &'static str, flood: Flood, spans: Spans) -> Self {
        Self::one(Series::new(what, "kpps", 0), move |path| {
            Ok(Some(
                flood.run(path.from(), path.to(), spans.flood)?.received * 1e-3,
            ))
        })
    }

    /// There and back, many at once.
    pub fn conversations(what: &'static str, count: usize, spans: Spans) -> Self {
        Self::one(Series::new(what, "thousand/s", 1), move |path| {
            thread::sleep(SETTLE);
            Ok(Some(latency::at_once(path, count, spans.flood)? * 1e-3))
        })
    }

    /// There and back, over UDP and over TCP.
    pub fn latency(spans: Spans) -> Self {
        let series = [
            "64 bytes there and back, UDP, median",
            "the same, 99 of 100",
            "processor time for each",
            "64 bytes there and back, TCP, median",
            "the same, 99 of 100",
            "processor time for each",
        ];
        Self {
            series: series.map(|what| Series::new(what, "µs", 0)).to_vec(),
            measure: Box::new(move |path| {
                thread::sleep(SETTLE);
                let udp = latency::udp(path, spans.latency, false)?;
                let tcp = latency::tcp(path, spans.latency, false)?;
                let figures = [udp, tcp].map(|of| [of.median, of.p99, of.cost]);
                Ok(figures.into_iter().flatten().map(Some).collect())
            }),
        }
    }

    /// The same, with a processor for each host.
    pub fn latency_apart(spans: Spans) -> Self {
        let series = [
            "there and back, a processor for each host, UDP, median",
            "there and back, a processor for each host, TCP, median",
        ];
        Self {
            series: series.map(|what| Series::new(what, "µs", 0)).to_vec(),
            measure: Box::new(move |path| {
                thread::sleep(SETTLE);
                let Some(_apart) = Apart::pin(path)? else {
                    return Ok(vec![None; 2]);
                };
                apart::stay(0)?;
                let udp = latency::udp(path, spans.latency, true)?;
                let tcp = latency::tcp(path, spans.latency, true)?;
                Ok(vec![Some(udp.median), Some(tcp.median)])
            }),
        }
    }

    /// There and back over TCP, beside streams that send as many bytes as go.
    pub fn latency_beside_streams(spans: Spans) -> Self {
        let load = Load::bulk(4, "cubic", spans.bulk);
        let series = [
            "64 bytes there and back beside 4 streams, TCP, median",
            "the same, 99 of 100",
        ];
        Self {
            series: series.map(|what| Series::new(what, "µs", 0)).to_vec(),
            measure: Box::new(move |path| {
                let latency = thread::scope(|scope| {
                    let streams = scope.spawn(|| load.run(path.from(), path.to()));
                    thread::sleep(BEGINNING);
                    let latency = latency::tcp(path, spans.flood, false);
                    let ended = streams
                        .join()
                        .unwrap_or_else(|_| bail!("iperf3's thread panicked"));
                    ended.and(latency)
                })?;
                Ok(vec![Some(latency.median), Some(latency.p99)])
            }),
        }
    }

    /// Processor time of the whole machine for each Gbit at a fixed rate, without what it needs anyway.
    pub fn cost(what: &'static str, rate: u64, background: f64, spans: Spans) -> Self {
        let load = Load {
            rate: Some(rate),
            ..Load::bulk(1, "cubic", spans.bulk)
        };
        Self::one(Series::new(what, "ms/Gbit", 0), move |path| {
            let watch = Watch::start()?;
            let transfer = load.run(path.from(), path.to())?;
            let used = watch.used()? - background * f64::from(load.seconds);
            let reached = transfer.rate > 0.97 * rate as f64;
            Ok(reached.then(|| used * 1e3 / (transfer.bits * 1e-9)))
        })
    }
}

/// What is compared on an undisturbed underlay.
///
/// # Errors
/// When the machine cannot be watched.
pub fn all(spans: Spans, quick: bool) -> Result<Vec<Probe>> {
    let mut probes = vec![
        Probe::bulk("TCP, 1 stream", 1, "cubic", spans),
        Probe::bulk("TCP, 4 streams", 4, "cubic", spans),
    ];
    if !quick && iperf::has("bbr") {
        probes.extend([
            Probe::bulk("TCP with BBR, 1 stream", 1, "bbr", spans),
            Probe::bulk("TCP with BBR, 4 streams", 4, "bbr", spans),
        ]);
    } else if !quick {
        let absent = Series::new("TCP with BBR, which this kernel has not", "Gbit/s", 2);
        probes.push(Probe::one(absent, |_| Ok(None)));
    }
    probes.extend(few(spans).pop());
    let looks = Flood {
        sink: Sink::Looks,
        ..Flood::small(1)
    };
    let mixed = Flood {
        sizes: MIXED,
        ..Flood::small(4)
    };
    let different = Flood {
        sizes: DIFFERENT,
        mix: Mix::AmongFlows,
        ..mixed
    };
    let many = |few| Flood {
        flows: 32,
        batch: 1,
        rate: Some(16_000),
        ..few
    };
    probes.extend([
        Probe::flood("64-byte datagrams, 1 flow, sink never woken", looks, spans),
        Probe::flood("64-byte datagrams, 4 flows", Flood::small(4), spans),
        Probe::flood("4 flows of 64, 256, 700 and 1400 bytes", different, spans),
        Probe::flood(
            "32 flows of 64, 256, 700 and 1400 bytes",
            many(different),
            spans,
        ),
        Probe::flood("4 flows of 64 to 1400 bytes in turns", mixed, spans),
        Probe::flood("32 flows of 64 to 1400 bytes in turns", many(mixed), spans),
        Probe::conversations("4 conversations at once, questions", 4, spans),
        Probe::conversations("32 conversations at once, questions", 32, spans),
    ]);
    if !quick {
        probes.push(Probe::latency_beside_streams(spans));
    }
    let background = Watch::background(Duration::from_secs(if quick { 0 } else { 2 }))?;
    if background > QUIET {
        eprintln!(
            "{background:.2} processors are busy with something else: processor time is left out"
        );
    } else if !quick {
        for (what, rate) in [
            ("processor time at 0.5 Gbit/s", 500_000_000),
            ("processor time at 2 Gbit/s", 2_000_000_000),
        ] {
            probes.push(Probe::cost(what, rate, background, spans));
        }
    }
    Ok(probes)
}

/// One stream and one flow.
pub fn few(spans: Spans) -> Vec<Probe> {
    vec![
        Probe::bulk("TCP, 1 stream", 1, "cubic", spans),
        Probe::flood("64-byte datagrams, 1 flow", Flood::small(1), spans),
    ]
}

/// Takes every figure of every path this often.
///
/// # Errors
/// When a path does not carry what it should.
pub fn take(mut probes: Vec<Probe>, paths: &[&Path<'_>], rounds: usize) -> Result<Vec<Series>> {
    for round in 0..rounds {
        if probes.is_empty() {
            break;
        }
        for (number, probe) in probes.iter_mut().enumerate() {
            for turn in 0..paths.len() {
                let path = paths[(round + number + turn) % paths.len()];
                let what = || format!("{} over {}", probe.series[0].what, path.mode.name());
                let values = (probe.measure)(path).with_context(what)?;
                for (series, value) in probe.series.iter_mut().zip(values) {
                    series.push(path.mode, value);
                }
            }
        }
        eprintln!("round {} of {rounds} done", round + 1);
    }
    Ok(probes.into_iter().flat_map(|probe| probe.series).collect())
}
