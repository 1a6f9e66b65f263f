//! `tweedd doctor`: looks at everything on this host that pods' packets need, says what is wrong, why it matters and what
//! mends it. Works with an agent, without one, and beside one that doesn't answer. Changes nothing.

mod catalog;
mod checks;
mod facts;
mod finding;
mod gather;
mod judge;
mod junit;
mod surroundings;
mod words;

use std::process::ExitCode;

use anyhow::Result;

use super::print;
use crate::config::cli::{DoctorArgs, DoctorOutput, Output};
use crate::config::options::Options;
use finding::{Report, Severity};

/// Exit code where something is wrong.
const WRONG: u8 = 2;

/// Looks, and prints what was found. Exit code 0 if nothing is wrong, 1 if there are warnings and those count, 2 if
/// something is wrong.
///
/// # Errors
/// If standard output can't be written to.
pub fn doctor(options: &Options, silent: Option<&str>, args: &DoctorArgs) -> Result<ExitCode> {
    let report = judge::judge(&gather::gather(options, silent));
    match args.output {
        DoctorOutput::Text => print::line(&words::words(&report, args.all))?,
        DoctorOutput::Json => print::print(Output::Json, &report, String::new)?,
        DoctorOutput::Junit => print::line(&junit::junit(&report))?,
    }
    Ok(exit_code(&report, args.strict))
}

fn exit_code(report: &Report, strict: bool) -> ExitCode {
    match report.worst() {
        Severity::Fail => ExitCode::from(WRONG),
        Severity::Warn if strict => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests;
