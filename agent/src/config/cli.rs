//! What can be typed: the subcommands and their own arguments. The daemon's flags are in `flags`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::cni_names;
use crate::config::flags::{AgentFlags, CniFlags, DaemonFlags, Flags, StoreFlags};
use crate::config::flannel_args;

mod connectivity;
mod doctor;
mod events;
mod output;
mod pages;
mod status;
mod tips;
mod top;
mod trace;

pub use connectivity::{
    ConnectivityArgs, ConnectivityCommand, ConnectivityServeArgs, ConnectivityTestArgs,
    ConnectivityViewsArgs, TxChecksumArgs,
};
pub use doctor::{DoctorArgs, DoctorOutput};
pub use events::EventsArgs;
pub use output::{Output, OutputArgs};
pub use status::StatusArgs;
pub use top::TopArgs;
pub use trace::TraceArgs;

/// The per-node agent of the Tweed overlay network, and its operator commands.
#[derive(Debug, Parser)]
#[command(
    name = "tweedd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it runs the daemon and reads its flags as flanneld does (-ip-masq, --ip-masq=false, -iface eth1): `tweedd run -h`. \
                  Every flag can also be set by a TWEED_… variable, flannel's by FLANNELD_… too; the command line wins over TWEED_…, that over FLANNELD_….\n\
                  Commands find an agent that runs here by themselves, and take its flags behind the command's name.\n\
                  Exit codes: 0 fine, 1 failure, 2 something is wrong or due, 64 usage."
)]
pub struct Cli {
    /// The command; the daemon where there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The daemon's flags where there is no command.
    #[command(flatten)]
    pub flags: DaemonFlags,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (the default)
    Run(Flags),
    /// Show what the agent on this host knows of itself. Exit code 2 if it isn't ready
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::STATUS)]
    Status {
        /// What is shown, and how often
        #[command(flatten)]
        args: StatusArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Look at everything on this host that pods' packets need, and say what is wrong and what mends it
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::DOCTOR)]
    Doctor {
        /// How much is shown
        #[command(flatten)]
        args: DoctorArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Show what has happened to this node and its peers, the last thousand events
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::EVENTS)]
    Events {
        /// Which of them
        #[command(flatten)]
        args: EventsArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Show what the next pass over the kernel would do. Exit code 2 if there is anything
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::PLAN)]
    Plan {
        /// What `confirm` does, by its earlier name
        #[arg(long, hide = true)]
        confirm: bool,
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Confirm that a store without peers is right, so that what the kernel has for them may be deleted
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::CONFIRM)]
    Confirm {
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Show how much is exchanged with each of the other nodes, with backend udp
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::TOP)]
    Top {
        /// How much is shown, and how often
        #[command(flatten)]
        args: TopArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Show what the data plane of backend udp decides about single packets
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::TRACE)]
    Trace {
        /// Which packets
        #[command(flatten)]
        args: TraceArgs,
        /// The flags with which the agent runs
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Say what an agent that is started here would take over of flannel's, change and sweep
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::ADOPT)]
    Adopt {
        /// Only say it: the agent itself takes over when it starts
        #[arg(long, required = true)]
        check: bool,
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// The flags with which the agent will run
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Remove from this host what the agent put there; pods lose their connections to other hosts
    #[command(after_help = pages::OTHER_FLAGS, after_long_help = pages::CLEANUP)]
    Cleanup {
        /// What to remove
        #[command(flatten)]
        args: CleanupArgs,
        /// The flags with which the agent ran
        #[command(flatten)]
        flags: AgentFlags,
    },
    /// Look at the leases of all nodes, or give one up
    #[command(subcommand)]
    Leases(LeasesCommand),
    /// Look at, write or check the network configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write Docker's options for this node's subnet, as mk-docker-opts.sh does
    #[command(after_long_help = pages::DOCKER_OPTS)]
    DockerOpts(DockerOptsArgs),
    /// Place the CNI plugin, its links and a network configuration list on this host
    #[command(after_long_help = pages::INSTALL_CNI)]
    InstallCni(InstallCniArgs),
    /// Test which pods, nodes, services and names reach each other, and say what is broken. Exit code 1 if anything is
    #[command(after_long_help = pages::CONNECTIVITY)]
    Connectivity(ConnectivityArgs),
    /// Print the version
    Version(OutputArgs),
    /// Print a shell's completion script
    Completions {
        /// Shell that the script is for
        shell: Shell,
    },
}

/// `tweedd cleanup`
#[derive(Clone, Copy, Debug, Args)]
pub struct CleanupArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the state folder too: the node forgets its lease and its MAC addresses
    #[arg(long)]
    pub purge: bool,
    /// Leave what flannel takes over (VXLAN device, routes, entries, subnet.env), and remove only what it would trip over:
    /// the way back to flanneld, which is to be started next
    #[arg(long)]
    pub hand_back: bool,
    /// Then wait to be told to stop: for a pod of a DaemonSet, which would be started again and again
    #[arg(long)]
    pub stay: bool,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `tweedd leases …`
#[derive(Debug, Subcommand)]
pub enum LeasesCommand {
    /// List the leases in the store, and entries that can't be read
    List {
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// Where the leases are
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Remove a lease from the store, whichever node holds it. Its node takes it back if it is alive
    #[command(after_long_help = pages::RELEASE)]
    Release {
        /// The lease by what `leases list` prints: subnet (10.244.3.0/24), public address or node; or by its key (10.244.3.0-24)
        #[arg(required = true)]
        leases: Vec<String>,
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// Where the leases are
        #[command(flatten)]
        store: StoreFlags,
    },
}

/// `tweedd config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the network configuration in the store
    Get {
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// Where the leases are
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Check a network configuration and write it to the store. Asks first if leases become invalid by it
    #[command(after_long_help = pages::CONFIG_SET)]
    Set {
        /// File with the configuration; - is standard input
        file: PathBuf,
        /// Write it although leases become invalid, without asking
        #[arg(long, short = 'y')]
        yes: bool,
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// Where the leases are
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Check a network configuration, from a file or from the store, and print what it comes to
    Check {
        /// File with the configuration; - is standard input, none is the one in the store
        file: Option<PathBuf>,
        /// How to print
        #[command(flatten)]
        output: OutputArgs,
        /// Where the leases are
        #[command(flatten)]
        store: StoreFlags,
    },
}

/// `tweedd docker-opts`
#[derive(Clone, Debug, Args)]
pub struct DockerOptsArgs {
    /// The node's subnet.env [default: the agent's, else /run/flannel/subnet.env]
    #[arg(short = 'f')]
    pub subnet_file: Option<PathBuf>,
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

/// `tweedd install-cni`
#[derive(Clone, Debug, Args)]
pub struct InstallCniArgs {
    /// The plugin binary to install; default: the file tweed beside this program
    #[arg(long)]
    pub plugin: Option<PathBuf>,
    /// Install no network configuration list
    #[arg(long, conflicts_with = "cni-conf")]
    pub skip_conf: bool,
    /// Names under which the plugin is linked, with commas or blanks between them
    #[arg(long, default_values = cni_names::LINKS)]
    pub links: Vec<String>,
    /// Replace files of the same name that are not ours, and place a list though plugins that it names are not there
    #[arg(long)]
    pub force: bool,
    /// What is placed, and where; the agent has the same flags
    #[command(flatten)]
    pub places: CniFlags,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
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
    let words = std::iter::once("tweedd".to_owned()).chain(line.words);
    let cli = Cli::try_parse_from(words).map_err(tips::with_tip)?;
    Ok(Invocation {
        command: cli.command.unwrap_or(Command::Run(cli.flags.0)),
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
