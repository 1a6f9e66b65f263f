//! The commands, a file each.

use std::process::ExitCode;

use crate::cli::{Command, ConfigCommand, ConnectivityCommand, Invocation, LeasesCommand};
use crate::flags::{self, Flags, StoreFlags};
use crate::options::{Note, Options, StoreOptions};
use crate::settings::{self, Settings};
use crate::store::Store;
use crate::telemetry::{self, LogOptions};

mod cleanup;
mod config;
mod connectivity;
mod docker_opts;
mod install_cni;
mod leases;
mod plan;
mod print;
mod run;
mod status;
mod table;
mod trace;
mod version;

/// Does what was asked.
///
/// # Errors
/// Why it could not be done; a [`settings::UsageError`] where the command line or environment is at fault.
pub fn dispatch(invocation: Invocation) -> anyhow::Result<ExitCode> {
    match invocation.command {
        Command::Run(flags) => run::run(&options(&flags, &invocation.ignored)?),
        Command::Status { output, flags } => status::status(&quiet(&flags)?, output.output),
        Command::Plan {
            confirm: true,
            output,
            flags,
        } => plan::confirm(&quiet(&flags)?, output.output),
        Command::Plan { output, flags, .. } => plan::plan(&quiet(&flags)?, output.output),
        Command::Trace { args, flags } => done(trace::trace(&quiet(&flags)?, &args)),
        Command::Cleanup { args, flags } => cleanup::cleanup(&quiet(&flags)?, &args),
        Command::Leases(command) => done(on_leases(command)),
        Command::Config(command) => done(on_config(command)),
        Command::InstallCni(args) => done(install_cni::install_cni(&args)),
        Command::Connectivity(args) => match args.command {
            Some(ConnectivityCommand::Serve(args)) => done(connectivity::serve(args)),
            None => connectivity::test(args.test),
        },
        Command::Version(args) => done(version::version(args.output)),
        Command::Completions { shell } => done(version::completions(shell)),
        Command::DockerOpts(args) => done(docker_opts::docker_opts(&args)),
    }
}

fn on_leases(command: LeasesCommand) -> anyhow::Result<()> {
    match command {
        LeasesCommand::List { output, store } => {
            let store = open(&store)?;
            run::block_on(leases::list(&store, output.output))
        }
        LeasesCommand::Release {
            leases,
            output,
            store,
        } => {
            let store = open(&store)?;
            run::block_on(leases::release(&store, &leases, output.output))
        }
    }
}

fn on_config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Get { output, store } => {
            let store = open(&store)?;
            run::block_on(config::get(&store, output.output))
        }
        ConfigCommand::Set {
            file,
            output,
            store,
        } => {
            let store = open(&store)?;
            run::block_on(config::set(&store, &file, output.output))
        }
        ConfigCommand::Check {
            file: Some(file),
            output,
            ..
        } => config::check_file(&file, output.output),
        ConfigCommand::Check {
            file: None,
            output,
            store,
        } => {
            let store = open(&store)?;
            run::block_on(config::check_store(&store, output.output))
        }
    }
}

/// The store that a command names. What isn't worth a warning isn't logged, unless asked for.
fn open(flags: &StoreFlags) -> anyhow::Result<Store> {
    let settings = Settings::new(&flags.0, &settings::process_environment);
    let options = StoreOptions::read(&settings)?;
    start_quietly(&settings)?;
    Store::open(&options)
}

/// The options of the agent that a command is about.
fn quiet(flags: &Flags) -> anyhow::Result<Options> {
    let settings = Settings::new(flags, &settings::process_environment);
    let options = Options::read(&settings)?;
    start_quietly(&settings)?;
    Ok(options)
}

fn start_quietly(settings: &Settings<'_>) -> anyhow::Result<()> {
    let mut log = LogOptions::read(settings)?;
    if settings.given(&flags::LOG_LEVEL).is_none() {
        log.filter = "warn".to_owned();
    }
    telemetry::start(&log)
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
