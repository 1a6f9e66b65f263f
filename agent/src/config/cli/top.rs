//! `tweedd top`

use clap::Args;

use super::output::OutputArgs;

/// `tweedd top`
#[derive(Clone, Copy, Debug, Args)]
pub struct TopArgs {
    /// So many nodes, those with the most bytes first
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub count: usize,
    /// Count for so long each time
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub every: u64,
    /// Only once, not again and again
    #[arg(long)]
    pub once: bool,
    /// How to print; without --once a JSON document a line
    #[command(flatten)]
    pub output: OutputArgs,
}
