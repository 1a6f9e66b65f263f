//! Runs the daemon, or one of the operator's commands with the options of the agent that it is about.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tweed_model::Subnets;
use tweed_store::StoreError;

use crate::config::cli::{
    Command, ConfigCommand, ConnectivityCommand, DockerOptsArgs, Invocation, LeasesCommand,
};
use crate::config::flags::{self, Flags, StoreFlags};
use crate::config::options::{LogOptions, Note, Options, StoreOptions};
use crate::config::settings::{self, Settings};
use crate::daemon::{self, inherited::Inherited};
use crate::files;
use crate::operator::find::{self, About};
use crate::operator::{
    adopt, cleanup, config, connectivity, docker_opts, doctor, events, install_cni, leases, plan,
    status, top, trace, tx_checksum, version, views,
};
use crate::runtime;
use crate::store::Store;
use crate::telemetry;

/// Does what was asked. What was inherited is the daemon's.
///
/// # Errors
/// Why it could not be done; a [`settings::UsageError`] where the command line or environment is at fault.
pub fn dispatch(invocation: Invocation, inherited: Inherited) -> anyhow::Result<ExitCode> {
    match invocation.command {
        Command::Run(flags) => {
            daemon::start::run(&options(&flags, &invocation.ignored)?, inherited)
        }
        Command::Status { args, flags } => {
            let (options, silent) = asked(&flags.0)?;
            status::status(&options, silent.as_deref(), &args)
        }
        Command::Doctor { args, flags } => {
            let (options, silent) = asked(&flags.0)?;
            doctor::doctor(&options, silent.as_deref(), &args)
        }
        Command::Events { args, flags } => {
            let (options, silent) = asked(&flags.0)?;
            done(events::events(&options, silent.as_deref(), &args))
        }
        Command::Plan {
            confirm: true,
            output,
            flags,
        } => {
            eprintln!(
                "tweedd: `plan --confirm` is called `tweedd confirm` now, since it is no plan"
            );
            plan::confirm(&quiet(&flags.0)?, output.output)
        }
        Command::Plan { output, flags, .. } => {
            let (options, silent) = asked(&flags.0)?;
            silent.iter().for_each(|silent| warn(silent));
            plan::plan(&options, silent.as_deref(), output.output)
        }
        Command::Confirm { output, flags } => plan::confirm(&quiet(&flags.0)?, output.output),
        Command::Top { args, flags } => done(top::top(&quiet(&flags.0)?, &args)),
        Command::Trace { args, flags } => done(trace::trace(&quiet(&flags.0)?, &args)),
        Command::Adopt { output, flags, .. } => adopt::check(&asked(&flags.0)?.0, output.output),
        // The lock tells whether one runs.
        Command::Cleanup { args, flags } => cleanup::cleanup(&asked(&flags.0)?.0, &args),
        Command::Leases(command) => done(on_leases(command)),
        Command::Config(command) => done(on_config(command)),
        Command::InstallCni(args) => install_cni::install_cni(&args),
        Command::Connectivity(args) => match args.command {
            Some(ConnectivityCommand::Serve(args)) => done(connectivity::serve(args)),
            Some(ConnectivityCommand::Views(args)) => views::views(&args),
            Some(ConnectivityCommand::TxChecksum { args, flags }) => {
                tx_checksum::measure(&quiet(&flags.0)?, &args)
            }
            None => connectivity::test(args.test),
        },
        Command::Version(args) => done(version::version(args.output)),
        Command::Completions { shell } => done(version::completions(shell)),
        Command::DockerOpts(args) => done(docker_opts::docker_opts(&args, &subnet_file(&args))),
    }
}

fn on_leases(command: LeasesCommand) -> anyhow::Result<()> {
    match command {
        LeasesCommand::List { output, store } => in_store(&store, async |store| {
            leases::list(store, output.output).await
        }),
        LeasesCommand::Release {
            leases,
            output,
            store,
        } => in_store(&store, async |store| {
            leases::release(store, &leases, output.output).await
        }),
    }
}

fn on_config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Get { output, store } => in_store(&store, async |store| {
            config::get(store, output.output).await
        }),
        ConfigCommand::Set {
            file,
            yes,
            output,
            store,
        } => in_store_or_new(&store, async |store| {
            config::set(store, &file, yes, output.output).await
        }),
        ConfigCommand::Check {
            file: Some(file),
            output,
            store,
        } => config::check_file(&file, cut_by(&store), output.output),
        ConfigCommand::Check {
            file: None,
            output,
            store,
        } => in_store(&store, async |store| {
            config::check_store(store, output.output).await
        }),
    }
}

/// Works on the store that a command names. A folder that isn't there is no empty store.
fn in_store(
    flags: &StoreFlags,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    in_store_or_new(flags, async |store| {
        store.refuse_missing().await?;
        work(store).await
    })
}

/// The same, also where the folder of the file store is still to be made. What isn't worth a warning isn't logged, unless
/// asked for.
fn in_store_or_new(
    flags: &StoreFlags,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let environment = &settings::process_environment;
    let elsewhere = find::agent(&flags.0, environment, About::Store)?;
    elsewhere.silent.iter().for_each(|silent| warn(silent));
    let settings = Settings::new(&flags.0, environment).or(&elsewhere);
    let options = StoreOptions::read(&settings)?;
    start_quietly(&settings)?;
    let store = Store::open(&options)?;
    runtime::block_on(work(&store)).map_err(|error| of_default(error, &options, &settings))
}

/// Says of a store out of reach that nobody has named it.
fn of_default(
    error: anyhow::Error,
    options: &StoreOptions,
    settings: &Settings<'_>,
) -> anyhow::Error {
    let is_default = matches!(options, StoreOptions::Etcd(_))
        && settings.given(&flags::ETCD_ENDPOINTS).is_none();
    let is_away = matches!(
        error.downcast_ref::<StoreError>(),
        Some(StoreError::Unavailable(_))
    );
    match is_default && is_away {
        true => error.context(
            "no store is named, and no agent runs here or has run here, so that etcd's usual addresses were asked; name the store by --etcd-endpoints or --store",
        ),
        false => error,
    }
}

/// What cuts the networks of a configuration: the store that is named, or the agent's. Where neither is, the nodes.
fn cut_by(flags: &StoreFlags) -> Subnets {
    let environment = &settings::process_environment;
    let elsewhere = find::agent(&flags.0, environment, About::Store).unwrap_or_default();
    let settings = Settings::new(&flags.0, environment).or(&elsewhere);
    match StoreOptions::read(&settings) {
        Ok(StoreOptions::Kube(_)) => Subnets::Assigned,
        _ => Subnets::Leased,
    }
}

/// The options of the agent that a command is about, and must ask.
fn quiet(flags: &Flags) -> anyhow::Result<Options> {
    match asked(flags)? {
        (options, None) => Ok(options),
        (_, Some(silent)) => anyhow::bail!(silent),
    }
}

/// Says that an agent doesn't answer, and what stands in for its answer.
fn warn(silent: &str) {
    eprintln!("tweedd: {silent}; going on with what it was given, as its files say");
}

/// The options of the agent that a command is about, and that it doesn't answer.
fn asked(flags: &Flags) -> anyhow::Result<(Options, Option<String>)> {
    let environment = &settings::process_environment;
    let elsewhere = find::agent(flags, environment, About::Host)?;
    let settings = Settings::new(flags, environment).or(&elsewhere);
    let mut options = Options::read(&settings)?;
    settle(&mut options);
    start_quietly(&settings)?;
    Ok((options, elsewhere.silent))
}

/// The `subnet.env` that is meant: as given, else that of the agent if one alone is known, else flannel's.
fn subnet_file(args: &DockerOptsArgs) -> PathBuf {
    let default = || flags::SUBNET_FILE.default.into();
    let found = || {
        let environment = &settings::process_environment;
        let none = Flags::default();
        let elsewhere = find::agent(&none, environment, About::Host).ok()?;
        let settings = Settings::new(&none, environment).or(&elsewhere);
        settings.text(&flags::SUBNET_FILE)
    };
    let given = args.subnet_file.clone();
    given.unwrap_or_else(|| found().map_or_else(default, |(_, file)| file.into()))
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
    let unknown = flags::variables::unknown(settings::process_variables());
    options.notes.extend(unknown.into_iter().map(Note::from));
    let said = settle(&mut options);
    options
        .notes
        .extend(said.map(|said| Note::from(("--cni-layout".to_owned(), said))));
    telemetry::start(&options.log)?;
    telemetry::announce(&options);
    Ok(options)
}

/// Finds the folders for the container runtime that nobody has named.
fn settle(options: &mut Options) -> Option<String> {
    let cni = options.cni.as_mut()?;
    files::cni::settle(cni, Path::new("/"), true)
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_out_of_reach_that_nobody_has_named_is_said_to_be_so() {
        let said = |variables: &[(&str, &str)], error: StoreError| {
            let variables = variables.to_vec();
            let environment = |name: &str| {
                let given = variables.iter().find(|(given, _)| *given == name);
                given.map(|(_, value)| (*value).to_owned())
            };
            let none = Flags::default();
            let settings = Settings::new(&none, &environment);
            let options = StoreOptions::read(&settings).expect("a store");
            format!("{:#}", of_default(error.into(), &options, &settings))
        };
        let away = || StoreError::Unavailable("refused".to_owned());
        let text = said(&[], away());
        assert!(text.contains("--etcd-endpoints") && text.ends_with(": refused"));
        let named = ("TWEED_ETCD_ENDPOINTS", "http://192.0.2.1:2379");
        assert_eq!(said(&[named], away()), "refused");
        assert_eq!(said(&[("TWEED_STORE", "file")], away()), "refused");
        let answer = StoreError::NotFound("x".to_owned());
        assert!(!said(&[], answer).contains("--etcd-endpoints"));
    }
}
