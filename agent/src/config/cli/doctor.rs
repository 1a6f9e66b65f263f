//! `tweedd doctor`

use clap::{Args, ValueEnum};

/// `tweedd doctor`
#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorArgs {
    /// List the checks too that found nothing wrong
    #[arg(long)]
    pub all: bool,
    /// Exit code 1 if there are warnings
    #[arg(long)]
    pub strict: bool,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DoctorOutput,
}

/// An output format of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorOutput {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// JUnit's XML, for what collects the results of tests
    Junit,
}
