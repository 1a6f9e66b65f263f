//! `tweedd run`: the daemon.

use std::process::ExitCode;

use crate::options::Options;

pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    tracing::info!(?options);
    Ok(ExitCode::SUCCESS)
}
