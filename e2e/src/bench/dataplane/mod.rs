//! `bench dataplane`: backend `udp` beside VXLAN, a naive loop and no overlay at all, in one run. Prints Markdown.

pub mod flood;
pub mod goals;
pub mod iperf;
pub mod latency;
pub mod machine;
pub mod naive;
pub mod paths;
pub mod probe;
pub mod series;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::paths::{MODES, Path};
use self::probe::Spans;
use super::table;

/// Rounds of a full run.
const ROUNDS: usize = 3;
/// How the command is called.
const USAGE: &str = "bench dataplane [quick] [--only <part of a name>] [--rounds <n>]";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    quick: bool,
    /// Only measurements whose names have this in them.
    only: String,
    rounds: usize,
}

/// Measures, as the words say.
///
/// # Errors
/// When a path does not carry traffic.
pub fn run(words: &[String]) -> Result<()> {
    compare(&Wish::parse(words)?)
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self> {
        let mut wish = Self {
            quick: false,
            only: String::new(),
            rounds: ROUNDS,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "quick" => {
                    wish.quick = true;
                    wish.rounds = 1;
                }
                "--only" => value()?.clone_into(&mut wish.only),
                "--rounds" => wish.rounds = value()?.parse().context(USAGE)?,
                _ => bail!("{USAGE}, not {word:?}"),
            }
        }
        Ok(wish)
    }
}

fn compare(wish: &Wish) -> Result<()> {
    let labs = MODES.iter().map(|mode| mode.lab());
    let labs = labs.collect::<Result<Vec<_>>>()?;
    let laid = MODES.iter().zip(&labs);
    let paths = laid
        .map(|(mode, lab)| Path::lay_out(*mode, lab))
        .collect::<Result<Vec<_>>>()?;
    let spans = Spans {
        bulk: if wish.quick { 1 } else { 2 },
        flood: Duration::from_millis(if wish.quick { 500 } else { 1000 }),
        latency: Duration::from_millis(300),
    };
    let mut probes = probe::all(spans, wish.quick)?;
    probes.retain(|probe| probe.is_called(&wish.only));
    let series = probe::take(probes, &paths, wish.rounds)?;
    let figures = series::table(&series, &MODES).markdown();
    print!("{figures}\n{}", table(&goals::rows(&series)).markdown());
    Ok(())
}
