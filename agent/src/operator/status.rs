//! `tweedd status`: what the running agent knows of itself; without one, what is known of it and whether the kernel is as
//! this node would want it. One document for both, and for an agent that doesn't answer.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{print, watch};
use crate::config::cli::{Output, StatusArgs};
use crate::config::options::Options;
use crate::daemon::clock;
use crate::daemon::offline;
use crate::daemon::status::Status;
use crate::operator::client::Agent;
use crate::runtime;
use screen::Screen;

mod data_plane;
mod peers;
mod rows;
pub mod screen;
mod teller;
mod trouble;

/// Exit code where the agent says that the node is not ready.
const NOT_READY: u8 = 2;

/// Prints the status. Exit code 0 if the agent says that the node is ready, 2 if it says that it is not, and 1 where no
/// agent says anything.
///
/// # Errors
/// When the agent may not be asked, or standard output can't be written to.
pub fn status(options: &Options, silent: Option<&str>, args: &StatusArgs) -> Result<ExitCode> {
    let Some(seconds) = args.watch else {
        let status = known(options, silent, args)?;
        print::print(args.output.output, &status, || words(&status, args))?;
        return Ok(code(&status));
    };
    let mut last = ExitCode::FAILURE;
    let draw = || {
        let status = known(options, silent, args)?;
        last = code(&status);
        Ok(words(&status, args))
    };
    match args.output.output {
        Output::Text => watch::watch(seconds, clock::seconds, draw)?,
        Output::Json => watch::documents(seconds, || {
            let status = known(options, silent, args)?;
            serde_json::to_string(&status).context("encode the status")
        })?,
    }
    Ok(last)
}

fn code(status: &Status) -> ExitCode {
    match (teller::answers(status), status.ready) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(NOT_READY),
        (false, _) => ExitCode::FAILURE,
    }
}

fn words(status: &Status, args: &StatusArgs) -> String {
    let (all, now) = (args.all, clock::seconds());
    Screen { status, all, now }.to_string()
}

/// What is known: by the agent, or without one.
fn known(options: &Options, silent: Option<&str>, args: &StatusArgs) -> Result<Status> {
    let without = |silent: Option<&str>| {
        runtime::block_on(async { Ok(offline::status(options, silent).await) })
    };
    if silent.is_some() {
        return without(silent);
    }
    let ask = |path: &str| -> Result<Option<Result<Status>>> {
        let agent = Agent::connect(&options.host.socket)?;
        Ok(agent.map(|agent| agent.ask("GET", path).and_then(|text| parsed(&text))))
    };
    let short = match args.peers {
        true => None,
        false => ask("/v1/status")?,
    };
    // A short list is part of the screen; JSON has what was asked for.
    let few = |status: &Status| status.peers + status.refused.len() <= peers::FEW;
    let is_whole = match &short {
        Some(Ok(status)) => args.output.output == Output::Json || !few(status),
        Some(Err(_)) => true,
        None => false,
    };
    let status = match is_whole {
        true => short,
        false => ask("/v1/status/peers")?,
    };
    match status {
        Some(Ok(status)) => Ok(status),
        Some(Err(error)) => without(Some(&format!("the agent does not answer: {error:#}"))),
        None => without(None),
    }
}

fn parsed(text: &str) -> Result<Status> {
    serde_json::from_str(text).context("read the agent's answer")
}
