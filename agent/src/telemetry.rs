//! Logs: structured, on standard error, as text or JSON.

mod bounded;
pub mod queue;

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::options::{LogFormat, LogOptions, Options};
use bounded::Bounded;

/// Libraries that log at each attempt what they return as an error too. We log that once, with what was attempted.
const ECHOES: [&str; 2] = ["kube_client", "kube_runtime"];

/// Starts logging. Once a process.
///
/// # Errors
/// If logging was started before.
pub fn start(log: &LogOptions) -> anyhow::Result<()> {
    let mut filter = EnvFilter::builder()
        .parse(&log.filter)
        .context("log level")?;
    for library in ECHOES.iter().filter(|name| !log.filter.contains(**name)) {
        filter = filter.add_directive(format!("{library}=off").parse()?);
    }
    let colours = log.format == LogFormat::Text && colours();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Bounded {
            json: log.format == LogFormat::Json,
            colours,
        });
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(colours).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start logging: {error}"))
}

/// Colours for people: on a terminal, unless <https://no-color.org> is asked for.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// Says once at start what the options mean that may surprise.
pub fn announce(options: &Options) {
    for note in &options.notes {
        tracing::warn!("{} {}", note.source, note.text);
    }
}
