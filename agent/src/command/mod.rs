//! The commands, a file each.

use std::process::ExitCode;

use crate::cli::{Command, Invocation};
use crate::flags::Flags;
use crate::options::{Note, Options};
use crate::settings::{self, Settings};
use crate::telemetry;

mod docker_opts;
mod print;
mod run;
mod version;

/// Does what was asked.
///
/// # Errors
/// Why it could not be done; a [`settings::UsageError`] where the command line or environment is at fault.
pub fn dispatch(invocation: Invocation) -> anyhow::Result<ExitCode> {
    match invocation.command {
        Command::Run(flags) => run::run(&options(&flags, &invocation.ignored)?),
        Command::Version(args) => done(version::version(args.output)),
        Command::Completions { shell } => done(version::completions(shell)),
        Command::DockerOpts(args) => done(docker_opts::docker_opts(&args)),
    }
}

/// The daemon's options. Starts logging, and says once what the options mean that may surprise.
fn options(flags: &Flags, ignored: &[String]) -> anyhow::Result<Options> {
    let settings = Settings::new(flags, &settings::process_environment);
    let mut options = Options::read(&settings)?;
    if !ignored.is_empty() {
        options.notes.push(Note::ignored_words(ignored));
    }
    telemetry::start(&options.log)?;
    telemetry::announce(&options);
    Ok(options)
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}
