//! `tweedd trace`: what the data plane decides about single packets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{find, print};
use crate::config::cli::{Output, TraceArgs};
use crate::config::options::Options;
use crate::daemon::http::trace::{Decision, LONGEST, MOST};

/// Prints decisions as they come, until there are enough of them or the time is over.
///
/// # Errors
/// When no agent runs here, or it carries no packets itself.
pub fn trace(options: &Options, args: &TraceArgs) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut left = args.count;
    loop {
        let time = end.saturating_duration_since(Instant::now());
        if time.is_zero() && left == args.count {
            let (prefix, seconds) = (args.prefix.0, args.seconds);
            eprintln!("tweedd: no packet to or from {prefix} has come in {seconds} s");
        }
        if left == 0 || time.is_zero() {
            return Ok(());
        }
        let decisions = ask(options, args, left.min(MOST), time)?;
        left -= decisions.len().min(left);
        for decision in decisions {
            print::line(&match args.output.output {
                Output::Text => decision.to_string(),
                Output::Json => serde_json::to_string(&decision)?,
            })?;
        }
    }
}

fn ask(options: &Options, args: &TraceArgs, count: usize, time: Duration) -> Result<Vec<Decision>> {
    let agent = find::connect(&options.host)?;
    let (prefix, every) = (args.prefix.0, args.every);
    let time = u64::try_from(time.as_millis())?.clamp(1, LONGEST);
    let path = format!("/v1/trace?prefix={prefix}&every={every}&count={count}&time={time}");
    serde_json::from_str(&agent.ask("GET", &path)?).context("read the agent's answer")
}
