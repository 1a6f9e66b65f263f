//! `tweedd status`

use clap::Args;

use super::output::OutputArgs;

/// `tweedd status`
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// List the other nodes, however many there are
    #[arg(long)]
    pub peers: bool,
    /// Show what is as it should be too
    #[arg(long)]
    pub all: bool,
    /// Show it again and again, each 2 s, or each so many
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,
    /// How to print
    #[command(flatten)]
    pub output: OutputArgs,
}
