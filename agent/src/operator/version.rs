//! `tweedd version` and `tweedd completions`: what the binary knows about itself.

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;
use tweed_model::VERSION;

use crate::config::cli::{Cli, Output};

use super::print;

/// Prints the version.
pub fn version(output: Output) -> anyhow::Result<()> {
    let value = json!({ "name": "tweedd", "version": VERSION });
    print::print(output, &value, || format!("tweedd {VERSION}"))
}

/// Prints a shell's completion script.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tweedd", &mut script);
    print::line(&String::from_utf8_lossy(&script))
}
