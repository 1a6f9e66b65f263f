//! `tweedd plan`: what the next pass would do, one change a line. Exit code 2 if there is anything to do.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{find, print};
use crate::config::cli::Output;
use crate::config::options::Options;
use crate::daemon::answers::{Confirmed, Preview};
use crate::daemon::offline;
use crate::operator::client::Agent;
use crate::runtime;

/// Exit code for drift.
pub const DRIFT: u8 = 2;

/// Asks the running agent; without one, compares with what the node would want by its saved state and the store.
///
/// # Errors
/// When the kernel can't be read, or what is wanted can't be known.
pub fn plan(options: &Options, silent: Option<&str>, output: Output) -> Result<ExitCode> {
    let agent = match silent {
        Some(_) => None,
        None => Agent::connect(&options.host.socket)?,
    };
    let preview = match agent {
        Some(agent) => serde_json::from_str(&agent.ask("GET", "/v1/plan")?)
            .context("read the agent's answer")?,
        None => runtime::block_on(offline::preview(options))?,
    };
    print::print(output, &preview, || words(&preview))?;
    Ok(
        match preview.puts.is_empty() && preview.deletes.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(DRIFT),
        },
    )
}

/// `tweedd confirm`: an empty store is right, the peers may go.
///
/// # Errors
/// When no agent runs here, or it holds nothing back.
pub fn confirm(options: &Options, output: Output) -> Result<ExitCode> {
    let agent = find::connect(&options.host)?;
    let answer: Confirmed = serde_json::from_str(&agent.ask("POST", "/v1/confirm")?)
        .context("read the agent's answer")?;
    print::print(output, &answer, || {
        format!("confirmed: {}", answer.confirmed)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn words(preview: &Preview) -> String {
    let lines: Vec<&str> = preview
        .puts
        .iter()
        .chain(&preview.deletes)
        .map(String::as_str)
        .collect();
    match lines.is_empty() {
        true => "nothing to do: the kernel is as wanted".to_owned(),
        false => lines.join("\n"),
    }
}
