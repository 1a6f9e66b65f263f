//! `make bench`: Tweed beside what it is compared with, in one run. Prints a table in Markdown.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tweed_bench::dataplane::{self, naive, shuffle};
use tweed_bench::row::{Row, table};
use tweed_bench::{agent, cni, floor, kube, path, plan, routes, scale};
use tweed_lab::cni::GO_PLUGINS;

/// Measures Tweed beside what it is compared with; prints Markdown
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    measured: Measured,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Debug, Args)]
struct Measured {
    /// What to measure; all but `kube`, which needs Kubernetes, if nothing is named
    parts: Vec<Part>,
    /// A flanneld to measure `scale` beside
    #[arg(long, value_name = "PROGRAM")]
    flanneld: Option<PathBuf>,
    /// The Go plugins to measure `cni` beside; outside `/run`, `/etc`, `/opt` and `/var/lib`, which hosts of the lab have for
    /// themselves
    #[arg(long, value_name = "FOLDER", default_value = GO_PLUGINS)]
    go_plugins: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Cni,
    Path,
    Plan,
    Routes,
    Agent,
    Scale,
    Kube,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Backend `udp` beside VXLAN, a naive loop and no overlay
    Dataplane(dataplane::Wish),
}

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    // Programs that the benchmark starts. Parsing their command lines with clap would be measured too.
    let outcome = match words.split_first() {
        Some((first, rest)) if first == floor::COMMAND => floor::run(rest),
        Some((first, rest)) if first == naive::COMMAND => naive::run(rest),
        Some((first, rest)) if first == shuffle::COMMAND => shuffle::run(rest),
        _ => match Cli::parse() {
            Cli {
                other: Some(Other::Dataplane(wish)),
                ..
            } => dataplane::run(&wish),
            Cli { measured, .. } => measure(&measured),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(measured: &Measured) -> Result<()> {
    let parts = &measured.parts;
    let mut rows = Vec::new();
    for part in Part::value_variants() {
        let by_default = parts.is_empty() && *part != Part::Kube;
        if by_default || parts.contains(part) {
            eprintln!("measuring: {part:?}");
            rows.extend(part.run(measured)?);
        }
    }
    print!("{}", table(&rows).markdown());
    Ok(())
}

impl Part {
    fn run(self, measured: &Measured) -> Result<Vec<Row>> {
        match self {
            Self::Cni => cni::run(&measured.go_plugins),
            Self::Path => path::run(),
            Self::Plan => plan::run(),
            Self::Routes => routes::run(),
            Self::Agent => agent::run(),
            Self::Scale => scale::run(measured.flanneld.as_deref()),
            Self::Kube => kube::run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_that_the_documents_name_are_read() {
        let read = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(read("bench").unwrap().measured.parts.is_empty());
        let parts = read("bench path cni").unwrap().measured.parts;
        assert_eq!(parts, [Part::Path, Part::Cni]);
        for line in [
            "bench kube",
            "bench cni --go-plugins /usr/libexec/cni",
            "bench scale --flanneld /usr/local/bin/flanneld",
            "bench dataplane",
            "bench dataplane quick",
            "bench dataplane --svg docs/dataplane.svg",
            "bench dataplane quick --only TCP --over udp --over vxlan --rounds 6",
            "bench dataplane soak",
            "bench dataplane soak 60",
        ] {
            read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "bench cno",
            "bench dataplane fast",
            "bench dataplane quick 60",
            "bench dataplane --over nothing",
        ] {
            read(line).unwrap_err();
        }
    }
}
