//! `tweedd install-cni`: the plugin, its links and the network configuration list on this host, in that order.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;
use tweed_host::bounded_file::{self, Links};

use crate::config::cli::InstallCniArgs;
use crate::config::cni_names;
use crate::config::options::CniOptions;
use crate::config::settings::{self, Settings, UsageError};
use crate::files::cni::{self, Folder, Outcome, Placed, Replace, conflist};

use super::print;

/// What was done, and what an operator should know.
#[derive(Debug, Default, Serialize)]
struct InstallReport {
    files: Vec<Placed>,
    warnings: Vec<String>,
    /// Runtimes use another list than the one that was to be placed.
    list_not_in_use: bool,
}

/// What a runtime does with the list isn't what it says: somebody else's stays, or sorts before it.
const NOT_IN_USE: u8 = 2;

/// Installs.
///
/// # Errors
/// If a file can't be written, or the place of the plugin itself is taken by somebody else's file.
pub fn install_cni(args: &InstallCniArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&args.places.0, &settings::process_environment);
    let report = install(args, &settings)?;
    for warning in &report.warnings {
        eprintln!("tweedd: {warning}");
    }
    print::print(args.output.output, &report, || words(&report))?;
    Ok(match report.list_not_in_use {
        true => ExitCode::from(NOT_IN_USE),
        false => ExitCode::SUCCESS,
    })
}

fn install(args: &InstallCniArgs, settings: &Settings<'_>) -> anyhow::Result<InstallReport> {
    let mut options = CniOptions::places(settings)?;
    let said = cni::settle(&mut options, Path::new("/"), !args.skip_conf);
    let links = links(&args.links)?;
    let source = cni::source(args.plugin.as_deref())?;
    let plugin = bounded_file::read(&source, Links::Followed, cni::PLUGIN_LIMIT)
        .with_context(|| format!("read {}", source.display()))?;
    let conf = match (&options.conf, args.skip_conf) {
        (_, true) => None,
        (Some(file), _) => Some(conflist::read(file)?),
        (None, _) => Some(conflist::built_in(&options.bin_dir, &links)),
    };
    if let Some(conf) = conf.as_ref().filter(|_| !args.force) {
        refuse_missing(conf, &options, &links)?;
    }
    let replace = match args.force {
        true => Replace::All,
        false => Replace::Ours,
    };
    let mut report = InstallReport {
        warnings: said.into_iter().collect(),
        ..InstallReport::default()
    };
    let mut folder = Folder::open(&options.bin_dir, replace)?;
    if report.note(folder.file(cni_names::PLUGIN, &plugin, 0o755)?) == Outcome::Kept {
        bail!(
            "{} is not a file that this command put there; remove it, or replace it with --force",
            options.bin_dir.join(cni_names::PLUGIN).display()
        );
    }
    for link in &links {
        report.note(folder.link(link)?);
    }
    if let Some(conf) = conf {
        let mut folder = Folder::open(&options.conf_dir, replace)?;
        let list = report.note_list(folder.list(&options.conf_name, &conf)?);
        let before = conflist::sorting_before(&options.conf_dir, &options.conf_name)?;
        report.shadowed(&before, &options.conf_name);
        report.list_not_in_use = !list || !before.is_empty();
    }
    Ok(report)
}

/// The names to link, as somebody wrote them.
fn links(given: &[String]) -> Result<Vec<String>, UsageError> {
    let words = given
        .iter()
        .flat_map(|text| text.split([',', ' ', '\t', '\n']));
    let names: Vec<String> = words
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names
        .iter()
        .find(|name| !cni_names::LINKS.contains(&name.as_str()))
    {
        Some(wrong) => Err(UsageError(format!(
            "--links: the plugin answers to no {wrong:?}, but to {}",
            cni_names::LINKS.join(", ")
        ))),
        None => Ok(names),
    }
}

/// With a list that names a plugin that isn't there, no pod starts.
fn refuse_missing(conf: &str, options: &CniOptions, links: &[String]) -> anyhow::Result<()> {
    let mut missing = conflist::missing_plugins(conf, &options.bin_dir);
    missing.retain(|name| name != cni_names::PLUGIN && !links.contains(name));
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the list names plugins that are not in {}: {}; no pod starts without them. Put them there first, or place the list all the same with --force",
        options.bin_dir.display(),
        missing.join(", ")
    )
}

impl InstallReport {
    fn note(&mut self, placed: Placed) -> Outcome {
        let outcome = placed.outcome;
        if outcome == Outcome::Kept {
            self.warnings.push(format!(
                "{} is somebody else's and stays; replace it with --force",
                placed.file.display()
            ));
        }
        self.files.push(placed);
        outcome
    }

    /// Whether pods get this network by the list. One of flannel's, as on each host that is moved, does that too.
    fn note_list(&mut self, placed: Placed) -> bool {
        let there = || bounded_file::read(&placed.file, Links::Refused, cni::LIST_LIMIT);
        let flannels = || there().is_ok_and(|content| conflist::is_flannels(&content));
        if placed.outcome != Outcome::Kept || !flannels() {
            return self.note(placed) != Outcome::Kept;
        }
        self.warnings.push(format!(
            "{} is flannel's and stays: pods get this network by it too. To have ours in its place: --force",
            placed.file.display()
        ));
        self.files.push(placed);
        true
    }

    fn shadowed(&mut self, before: &[PathBuf], ours: &str) {
        let warning = |path: &PathBuf| {
            format!(
                "{} sorts before {ours}: runtimes use it instead of ours; remove it, or choose an earlier --cni-conf-name",
                path.display()
            )
        };
        self.warnings.extend(before.iter().map(warning));
    }
}

fn words(report: &InstallReport) -> String {
    let line = |placed: &Placed| {
        let what = match placed.outcome {
            Outcome::Installed => "installed",
            Outcome::Unchanged => "unchanged",
            Outcome::Kept => "kept",
        };
        let with = match placed.appended.is_empty() {
            true => String::new(),
            false => format!(
                ", with what others have appended: {}",
                placed.appended.join(", ")
            ),
        };
        format!("{what:9} {}{with}", placed.file.display())
    };
    let lines: Vec<String> = report.files.iter().map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
