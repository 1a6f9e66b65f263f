//! `make bench`: Tweed beside what it is compared with, in one run. Prints a table in Markdown.
//!
//! Words choose parts: `bench cni path plan agent kube`; none means all but `kube`, which needs Kubernetes (`make bench-kube`).
//! `bench dataplane` stands for itself: it compares backend `udp` with everything else (`make bench-dataplane`).

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};
use tweed_e2e::bench::dataplane::{self, naive, shuffle};
use tweed_e2e::bench::{Row, agent, cni, floor, kube, path, plan, table};

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let outcome = match words.split_first() {
        Some((first, rest)) if first == floor::COMMAND => floor::run(rest),
        Some((first, rest)) if first == naive::COMMAND => naive::run(rest),
        Some((first, rest)) if first == shuffle::COMMAND => shuffle::run(rest),
        Some((first, rest)) if first == "dataplane" => dataplane::run(rest),
        _ => measure(&words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[String]) -> Result<()> {
    type Part = (&'static str, fn() -> Result<Vec<Row>>);
    const PARTS: [Part; 5] = [
        ("cni", cni::run),
        ("path", path::run),
        ("plan", plan::run),
        ("agent", agent::run),
        ("kube", kube::run),
    ];
    if let Some(word) = words
        .iter()
        .find(|&word| PARTS.iter().all(|(name, _)| name != word))
    {
        bail!("no part {word:?}; there are cni, path, plan, agent and kube");
    }
    let mut rows = Vec::new();
    for (name, part) in PARTS {
        let by_default = words.is_empty() && name != "kube";
        if by_default || words.iter().any(|word| word == name) {
            eprintln!("measuring: {name}");
            rows.extend(part()?);
        }
    }
    print!("{}", table(&rows).markdown());
    Ok(())
}
