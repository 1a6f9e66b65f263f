//! `tweedd connectivity views`: which nodes don't reach each other, as their agents see it. The views are status documents,
//! which the operator's own means bring here: no node opens a port, or writes anything for the others, for this.

mod group;
mod pairs;

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tweed_host::bounded_file::MIB;

use super::print;
use crate::config::cli::ConnectivityViewsArgs;
use crate::daemon::clock;
use crate::daemon::status::Status;
use group::Report;
use pairs::Seen;

/// All documents together are no longer. A status of which all is bad has 50 KiB.
const LONGEST: u64 = 512 * MIB as u64;

/// Prints the pairs that don't reach each other. Exit code 1 if there are any, or nodes without an agent that answers.
///
/// # Errors
/// When there are no views, or they can't be read.
pub fn views(args: &ConnectivityViewsArgs) -> Result<ExitCode> {
    let mut views = Vec::new();
    for file in &args.files {
        match file.as_os_str() == "-" {
            true => read(stdin().lock(), file, &mut views)?,
            false => {
                let opened = File::open(file);
                let opened = opened.with_context(|| format!("open {}", file.display()))?;
                read(opened, file, &mut views)?;
            }
        }
    }
    ensure!(
        !views.is_empty(),
        "no status documents: give what `tweedd status --output json` prints on each node, one after the other"
    );
    let report = Report::of(&Seen::of(&views));
    print::print(args.output.output, &report, || {
        report.text(clock::seconds())
    })?;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Documents that follow each other, as `cat` makes them.
fn read(source: impl Read, name: &Path, views: &mut Vec<Status>) -> Result<()> {
    let documents = serde_json::Deserializer::from_reader(source.take(LONGEST));
    for document in documents.into_iter::<Status>() {
        let number = views.len() + 1;
        let named = || format!("{}: document {number} is no status", name.display());
        views.push(document.with_context(named)?);
    }
    Ok(())
}
