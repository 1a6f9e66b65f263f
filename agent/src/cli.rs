//! What can be typed: the subcommands and their own arguments. The daemon's flags are in `flags`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::flags::Flags;
use crate::flannel_args;

/// The per-node agent of the Tweed overlay network, and its operator commands.
#[derive(Debug, Parser)]
#[command(
    name = "tweedd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it runs the daemon and reads its flags as flanneld does (-ip-masq, --ip-masq=false, -iface eth1).\n\
                  Every flag of `run` can also be set by a TWEED_… variable, flannel's by FLANNELD_… too; the command line wins over\n\
                  TWEED_…, that over FLANNELD_…. Exit codes: 0 fine, 1 failure, 2 drift found, 64 usage."
)]
pub struct Cli {
    /// The command; the daemon where there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The daemon's flags where there is no command.
    #[command(flatten)]
    pub flags: Flags,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (the default)
    Run(Flags),
    /// Write Docker's options for this node's subnet, as mk-docker-opts.sh does
    DockerOpts(DockerOptsArgs),
    /// Print the version
    Version(OutputArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `tweedd docker-opts`
#[derive(Clone, Debug, Args)]
pub struct DockerOptsArgs {
    /// The node's subnet.env
    #[arg(short = 'f', default_value = "/run/flannel/subnet.env")]
    pub subnet_file: PathBuf,
    /// Where the options are written
    #[arg(short = 'd', default_value = "/run/docker_opts.env")]
    pub docker_env: PathBuf,
    /// Write one variable an option, DOCKER_OPT_…; without -i and -c both forms are written
    #[arg(short = 'i')]
    pub individual: bool,
    /// Write one variable with all options
    #[arg(short = 'c')]
    pub combined: bool,
    /// Name of the variable with all options
    #[arg(short = 'k', default_value = "DOCKER_OPTS")]
    pub key: String,
    /// Leave --ip-masq out
    #[arg(short = 'm')]
    pub no_ip_masq: bool,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputArgs {
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Invocation {
    /// What was asked.
    pub command: Command,
    /// Words that were dropped, as flanneld drops them.
    pub ignored: Vec<String>,
}

/// Reads a command line; the first word is the program's name.
///
/// # Errors
/// clap's, which also stands for a request for help or version.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let words = words
        .into_iter()
        .skip(1)
        .map(|word| {
            word.into_string().map_err(|word| {
                let text = format!("{} is not UTF-8", word.display());
                Cli::command().error(ErrorKind::InvalidUtf8, text)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let commands = command_names();
    let line = flannel_args::rewrite(&words, &commands);
    if let Some(command) = line.ignored.first().filter(|word| commands.contains(word)) {
        let text = format!(
            "the command comes first, its flags after it: tweedd {command} {}",
            line.words.join(" ")
        );
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, text));
    }
    let cli = Cli::try_parse_from(std::iter::once("tweedd".to_owned()).chain(line.words))?;
    Ok(Invocation {
        command: cli.command.unwrap_or(Command::Run(cli.flags)),
        ignored: line.ignored,
    })
}

/// The names of all subcommands, clap's own `help` included.
pub fn command_names() -> Vec<String> {
    let mut command = Cli::command();
    command.build();
    command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
