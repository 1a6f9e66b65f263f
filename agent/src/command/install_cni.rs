//! `tweedd install-cni`: the plugin, its links and the network configuration list on this host, in that order.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::InstallCniArgs;
use crate::cni::{self, Folder, Outcome, Placed, Replace, conflist};

use super::print;

/// What was done, and what an operator should know.
#[derive(Debug, Default, Serialize)]
struct Report {
    files: Vec<Placed>,
    warnings: Vec<String>,
}

/// Installs.
///
/// # Errors
/// If a file can't be written, or the place of the plugin itself is taken by somebody else's file.
pub fn install_cni(args: &InstallCniArgs) -> anyhow::Result<()> {
    let report = install(args)?;
    for warning in &report.warnings {
        eprintln!("tweedd: {warning}");
    }
    print::print(args.output.output, &report, || words(&report))
}

fn install(args: &InstallCniArgs) -> anyhow::Result<Report> {
    let source = cni::source(args.plugin.as_deref())?;
    let plugin = std::fs::read(&source).with_context(|| format!("read {}", source.display()))?;
    let conf = match (&args.conf, args.skip_conf) {
        (_, true) => None,
        (Some(file), _) => Some(conflist::read(file)?),
        (None, _) => Some(conflist::built_in(&args.bin_dir, &args.links)),
    };
    for name in args.links.iter().chain([&args.conf_name]) {
        cni::file_name(name)?;
    }
    let replace = match args.force {
        true => Replace::All,
        false => Replace::Ours,
    };
    let mut report = Report::default();
    let mut folder = Folder::open(&args.bin_dir, replace)?;
    if report.note(folder.file(cni::PLUGIN, &plugin, 0o755)?) == Outcome::Kept {
        bail!(
            "{} is not a file that this command put there; remove it, or replace it with --force",
            args.bin_dir.join(cni::PLUGIN).display()
        );
    }
    for link in &args.links {
        report.note(folder.link(link)?);
    }
    if let Some(conf) = conf {
        let mut folder = Folder::open(&args.conf_dir, replace)?;
        report.note(folder.file(&args.conf_name, conf.as_bytes(), 0o644)?);
        let before = conflist::sorting_before(&args.conf_dir, &args.conf_name)?;
        report.shadowed(&before, &args.conf_name);
    }
    Ok(report)
}

impl Report {
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

    fn shadowed(&mut self, before: &[PathBuf], ours: &str) {
        let warning = |path: &PathBuf| {
            format!(
                "{} sorts before {ours}: runtimes use it instead of ours; remove it, or choose an earlier --conf-name",
                path.display()
            )
        };
        self.warnings.extend(before.iter().map(warning));
    }
}

fn words(report: &Report) -> String {
    let line = |placed: &Placed| {
        let what = match placed.outcome {
            Outcome::Installed => "installed",
            Outcome::Unchanged => "unchanged",
            Outcome::Kept => "kept",
        };
        format!("{what:9} {}", placed.file.display())
    };
    let lines: Vec<String> = report.files.iter().map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
