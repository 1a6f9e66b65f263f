//! `bench dataplane`: backend `udp` beside VXLAN, a naive loop and no overlay at all, in one run. Prints Markdown.

pub mod apart;
pub mod chart;
pub mod device;
pub mod goals;
pub mod iperf;
pub mod latency;
pub mod lost;
pub mod machine;
pub mod naive;
pub mod paths;
pub mod probe;
pub mod series;
pub mod shuffle;
pub mod soak;
pub mod underlay;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use self::lost::Losses;
use self::paths::{ALL, MODES, Mode, Path};
use self::probe::{Probe, Spans};
use self::series::Series;
use crate::row::table;
use tweed_lab::flood::{Flood, Sink};
use tweed_lab::report::Table;

/// Rounds of a full run.
const ROUNDS: usize = 5;
/// Measurements that are asked for.
#[derive(Clone, Debug, Args)]
pub struct Wish {
    #[command(subcommand)]
    run: Option<Run>,
    /// Only measurements whose names have this in them
    #[arg(long, global = true, default_value = "")]
    only: String,
    /// Only this way; may be given several times
    #[arg(long, global = true, value_parser = way)]
    over: Vec<Mode>,
    /// How often each is measured
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Where to write the picture
    #[arg(long, global = true)]
    svg: Option<PathBuf>,
}

/// What is measured, if not all, which takes twenty minutes.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Run {
    /// One round of what matters, a minute
    Quick,
    /// Full load
    Soak {
        /// For so long
        #[arg(default_value_t = soak::SPAN)]
        seconds: u32,
    },
}

/// Measures what is asked for.
///
/// # Errors
/// When a path does not carry traffic.
pub fn run(wish: &Wish) -> Result<()> {
    match wish.run {
        Some(Run::Soak { seconds }) => show(&table(&soak::run(seconds)?)),
        Some(Run::Quick) | None => compare(wish)?,
    }
    Ok(())
}

impl Wish {
    fn is_quick(&self) -> bool {
        matches!(self.run, Some(Run::Quick))
    }

    fn rounds(&self) -> usize {
        self.rounds
            .unwrap_or(if self.is_quick() { 1 } else { ROUNDS })
    }

    /// Whether a way is asked for.
    fn goes_over(&self, mode: Mode) -> bool {
        if self.over.is_empty() {
            return !self.is_quick() || mode != Mode::Crowd;
        }
        self.over.contains(&mode)
    }

    /// Whether a part of the full run is asked for.
    fn asks_for(&self, part: &str) -> bool {
        !self.is_quick() && part.contains(&self.only)
    }
}

fn compare(wish: &Wish) -> Result<()> {
    let mut modes = ALL.to_vec();
    modes.retain(|mode| wish.goes_over(*mode));
    let labs = modes.iter().map(|mode| mode.lab());
    let labs = labs.collect::<Result<Vec<_>>>()?;
    let laid = modes.iter().zip(&labs);
    let paths = laid
        .map(|(mode, lab)| Path::lay_out(*mode, lab))
        .collect::<Result<Vec<_>>>()?;
    let of = |modes: &[Mode]| {
        let some = paths.iter().filter(|path| modes.contains(&path.mode));
        some.collect::<Vec<_>>()
    };
    let spans = Spans {
        bulk: if wish.is_quick() { 1 } else { 2 },
        flood: Duration::from_millis(if wish.is_quick() { 500 } else { 2000 }),
        latency: Duration::from_millis(300),
    };
    let take = |mut probes: Vec<Probe>, paths: &[&Path<'_>]| -> Result<Vec<Series>> {
        probes.retain(|probe| probe.is_called(&wish.only));
        let series = probe::take(probes, paths, wish.rounds())?;
        let modes: Vec<Mode> = paths.iter().map(|path| path.mode).collect();
        show(&series::table(&series, &modes));
        Ok(series)
    };
    let always = of(&MODES);
    let mut series = take(probe::all(spans, wish.is_quick())?, &always)?;
    let idle = [always.clone(), of(&[Mode::Sleeping, Mode::Spinning])].concat();
    let latency = vec![Probe::latency_apart(spans), Probe::latency(spans)];
    series.extend(take(latency, &idle)?);
    show(&table(&goals::rows(&series)));
    if let Some(file) = &wish.svg {
        fs::write(file, chart::svg(&series))
            .with_context(|| format!("write {}", file.display()))?;
    }
    if wish.asks_for("peers") {
        let modes = [Mode::Udp, Mode::Crowd];
        let series = probe::take(probe::few(spans), &of(&modes), wish.rounds())?;
        show(&series::table(&series, &modes));
        show(&table(&goals::crowd(&series)));
    }
    if wish.asks_for("losses") {
        show(&lost::table(&losses(&always)?));
    }
    if wish.asks_for("underlay") {
        show(&underlay::run(&always)?);
    }
    Ok(())
}

/// A way by its name in the tables.
fn way(name: &str) -> Result<Mode> {
    let named = ALL.into_iter().find(|mode| mode.name() == name);
    named.with_context(|| {
        let names = ALL.map(|mode| format!("{:?}", mode.name()));
        format!("no way is called {name:?}; there are {}", names.join(", "))
    })
}

fn show(table: &Table) {
    if !table.is_empty() {
        // The receiver may be gone; the hosts must be taken down all the same.
        let _ = writeln!(io::stdout(), "{}", table.markdown());
    }
}

/// Of one flow of small datagrams, by how it is received and sent.
fn losses(paths: &[&Path<'_>]) -> Result<Vec<(String, Losses)>> {
    let mut rows = Vec::new();
    let small = Flood::small(1);
    for path in paths {
        for (kind, sink, batch) in [
            ("", Sink::Waits, small.batch),
            (", a call for each", Sink::Waits, 1),
            (", default buffer", Sink::DefaultBuffer, small.batch),
        ] {
            let flood = Flood {
                sink,
                batch,
                ..small
            };
            let what = format!("{}{kind}", path.mode.name());
            rows.push((what, Losses::of(path, &flood, Duration::from_secs(1))?));
        }
    }
    Ok(rows)
}
