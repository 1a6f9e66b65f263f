//! `tweedd install-cni`: the plugin, its links and the network configuration list on this host, in that order, since
//! runtimes start pods the moment the list is there. Every file appears whole, by rename.
//!
//! A file is ours if it is what an earlier run put there, which a record beside it tells. Anything else of the same name
//! belongs to somebody and is left alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::InstallCniArgs;
use crate::files;

use super::print;

mod conflist;
mod record;

use record::Record;

/// The plugin's file name.
const PLUGIN: &str = "tweed";

/// What happened to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It was written.
    Installed,
    /// It was as it should be.
    Unchanged,
    /// Somebody else's file of that name stays.
    Kept,
}

#[derive(Debug, Serialize)]
struct Placed {
    file: PathBuf,
    outcome: Outcome,
}

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
    let source = source(args)?;
    let plugin = std::fs::read(&source).with_context(|| format!("read {}", source.display()))?;
    let conf = match (&args.conf, args.skip_conf) {
        (_, true) => None,
        (Some(file), _) => Some(conflist::read(file)?),
        (None, _) => Some(conflist::built_in(&args.bin_dir, &args.links)),
    };
    for name in args.links.iter().chain([&args.conf_name]) {
        file_name(name)?;
    }
    let mut report = Report::default();
    let mut folder = Folder::open(&args.bin_dir, args.force)?;
    if folder.file(PLUGIN, &plugin, 0o755, &mut report)? == Outcome::Kept {
        bail!(
            "{} is not a file that this command put there; remove it, or replace it with --force",
            args.bin_dir.join(PLUGIN).display()
        );
    }
    for link in &args.links {
        folder.link(link, &mut report)?;
    }
    if let Some(conf) = conf {
        let mut folder = Folder::open(&args.conf_dir, args.force)?;
        folder.file(&args.conf_name, conf.as_bytes(), 0o644, &mut report)?;
        report
            .warnings
            .extend(conflist::sorting_before(&args.conf_dir, &args.conf_name)?);
    }
    Ok(report)
}

fn source(args: &InstallCniArgs) -> anyhow::Result<PathBuf> {
    if let Some(plugin) = &args.plugin {
        return Ok(plugin.clone());
    }
    let own = std::env::current_exe().context("find this program's own file")?;
    let beside = own.with_file_name(PLUGIN);
    match beside.exists() {
        true => Ok(beside),
        false => bail!(
            "there is no {}; name the plugin with --plugin",
            beside.display()
        ),
    }
}

/// A name that stays within its folder.
fn file_name(name: &str) -> anyhow::Result<()> {
    match Path::new(name).file_name() {
        Some(file) if file == name => Ok(()),
        _ => bail!("{name:?} is not a file name"),
    }
}

/// A folder to install into, with the record of what was installed before.
struct Folder<'a> {
    dir: &'a Path,
    force: bool,
    record: Record,
}

impl<'a> Folder<'a> {
    fn open(dir: &'a Path, force: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self {
            dir,
            force,
            record: Record::load(dir),
        })
    }

    fn file(
        &mut self,
        name: &str,
        content: &[u8],
        mode: u32,
        report: &mut Report,
    ) -> anyhow::Result<Outcome> {
        let path = self.dir.join(name);
        let there = match std::fs::read(&path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let outcome = match there {
            Some(there) if there == content && !path.is_symlink() => Outcome::Unchanged,
            Some(there) if !self.force && !self.record.is_ours(name, &there) => Outcome::Kept,
            _ => Outcome::Installed,
        };
        if outcome == Outcome::Installed {
            // First the record: should the power go between the two, the file is still known as ours or absent.
            self.record.add(name, content);
            self.record.save(self.dir)?;
            files::replace(&path, content, mode)?;
        }
        self.note(path, outcome, report);
        Ok(outcome)
    }

    fn link(&self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        let outcome = match std::fs::read_link(&path) {
            Ok(target) if target == Path::new(PLUGIN) => Outcome::Unchanged,
            Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Installed,
            _ if self.force => Outcome::Installed,
            _ => Outcome::Kept,
        };
        if outcome == Outcome::Installed {
            files::replace_link(&path, Path::new(PLUGIN))?;
        }
        self.note(path, outcome, report);
        Ok(())
    }

    fn note(&self, file: PathBuf, outcome: Outcome, report: &mut Report) {
        if outcome == Outcome::Kept {
            report.warnings.push(format!(
                "{} is somebody else's and stays; replace it with --force",
                file.display()
            ));
        }
        report.files.push(Placed { file, outcome });
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
