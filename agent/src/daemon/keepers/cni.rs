//! What the container runtime needs of us, placed and kept: the plugin and its links from the start, the network
//! configuration list once the network works. The runtime calls a node ready the moment the list is there, which is
//! why a list that outlived a reboot goes until the network works again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tweed_host::bounded_file::{self, Links};

use super::file_look::{FileLook, Files};
use super::{Keeper, News};
use crate::config::cni_names;
use crate::config::options::CniOptions;
use crate::daemon::facts::Facts;
use crate::daemon::status::parts::CniStatus;
use crate::files::cni::{self, Folder, Outcome, Replace, conflist};

/// Between two looks at the plugin.
const PLUGIN: Duration = Duration::from_secs(60);

/// Has the files kept.
pub struct CniKeeper {
    files: Arc<Mutex<CniFiles>>,
    look: FileLook<Option<CniStatus>>,
    /// Whether pods could start at the last look.
    open: bool,
}

impl CniKeeper {
    /// A keeper of files with these options.
    pub fn new(options: CniOptions, subnet_file: PathBuf, files: &Files, now: Instant) -> Self {
        let mut look = FileLook::new(Some(&options.conf_dir), files, now);
        if let Some(source) = &options.conf {
            look = look.and(source.parent());
        }
        Self {
            look,
            files: Arc::new(Mutex::new(CniFiles::new(options, subnet_file))),
            open: false,
        }
    }

    /// The list, its source, or the folder of one of them has changed.
    pub fn changed(&mut self) {
        self.look.changed();
    }

    /// Takes the list away if that was asked for, and places nothing from now on.
    pub fn stop(&self) {
        lock(&self.files).stop();
    }
}

impl Keeper for CniKeeper {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let open = facts.pods_can_start();
        if std::mem::replace(&mut self.open, open) != open {
            self.look.changed();
        }
        let files = Arc::clone(&self.files);
        let place = move || lock(&files).place(open, Instant::now());
        if let Some(status) = self.look.look(now, place).flatten() {
            facts.cni = Some(status);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        self.look.due()
    }
}

fn lock(files: &Mutex<CniFiles>) -> MutexGuard<'_, CniFiles> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files, and what is known of them.
struct CniFiles {
    options: CniOptions,
    plugin_due: Option<Instant>,
    plugin: Result<(), String>,
    list_placed: bool,
    told: CniStatus,
    /// Without it no pod can start.
    subnet_file: PathBuf,
    stopped: bool,
}

impl CniFiles {
    /// Places nothing before the first look.
    fn new(options: CniOptions, subnet_file: PathBuf) -> Self {
        Self {
            options,
            plugin_due: None,
            plugin: Ok(()),
            list_placed: false,
            told: CniStatus::default(),
            subnet_file,
            stopped: false,
        }
    }

    /// Does what is due, and returns the status if it isn't what it was. Without a subnet file no pod can start: the
    /// host has been restarted, or this is its first time.
    fn place(&mut self, pods_can_start: bool, now: Instant) -> Option<CniStatus> {
        if self.stopped {
            return None;
        }
        let first = self.plugin_due.is_none();
        if self.plugin_due.is_none_or(|due| now >= due) {
            self.plugin_due = Some(now + PLUGIN);
            let placed = match self.options.plugins {
                true => self.place_plugin(),
                false => self.find_plugin(),
            };
            self.plugin = placed.map_err(|error| format!("{error:#}"));
        }
        if first && !self.subnet_file.exists() {
            self.withdraw("the network is not up yet");
        }
        let status = self.look_at_list(pods_can_start);
        self.tell(&status);
        let news = status != self.told || first;
        self.told.clone_from(&status);
        news.then_some(status)
    }

    /// Takes the list away if that was asked for, and places nothing from now on.
    fn stop(&mut self) {
        self.stopped = true;
        if self.options.withdraw {
            self.withdraw("the agent stops");
        }
    }

    fn place_plugin(&self) -> Result<()> {
        let source = cni::source(None)?;
        let content = bounded_file::read(&source, Links::Followed, cni::PLUGIN_LIMIT)
            .with_context(|| format!("read {}", source.display()))?;
        let mut folder = Folder::open(&self.options.bin_dir, Replace::Ours)?;
        let plugin = folder.file(cni_names::PLUGIN, &content, 0o755)?;
        match plugin.outcome {
            Outcome::Kept => bail!(
                "{} is somebody else's file; remove it, and the plugin takes its place",
                plugin.file.display()
            ),
            Outcome::Installed => tracing::info!(file = %plugin.file.display(), "plugin placed"),
            Outcome::Unchanged => {}
        }
        for name in cni_names::LINKS {
            let link = folder.link(name)?;
            // Nothing is wrong with that: the plugin runs its own bridge and host-local, whatever lies there.
            if link.outcome == Outcome::Kept {
                tracing::debug!(file = %link.file.display(), "somebody else's file is left alone");
            }
        }
        Ok(())
    }

    /// Something else has placed it, and would again.
    fn find_plugin(&self) -> Result<()> {
        let plugin = self.options.bin_dir.join(cni_names::PLUGIN);
        match plugin.exists() {
            true => Ok(()),
            false => bail!(
                "{} is not there; tweedd install-cni places it, in Kubernetes as the first thing in a new pod of the agent",
                plugin.display()
            ),
        }
    }

    fn look_at_list(&mut self, pods_can_start: bool) -> CniStatus {
        let mut status = CniStatus {
            error: self.plugin.clone().err(),
            ..CniStatus::default()
        };
        if let Ok(warnings) = self.shadows() {
            status.warnings = warnings;
        }
        // Once it is there it stays: pods that start while a session begins anew find what the last one left.
        if status.error.is_some() || !(pods_can_start || self.list_placed) {
            return status;
        }
        match self.place_list() {
            Ok((path, warnings)) => {
                self.list_placed = true;
                status.list = Some(path.display().to_string());
                status.warnings.extend(warnings);
            }
            Err(error) => status.error = Some(format!("{error:#}")),
        }
        status
    }

    fn place_list(&self) -> Result<(PathBuf, Option<String>)> {
        let options = &self.options;
        let list = match &options.conf {
            Some(file) => conflist::read(file)?,
            None => conflist::built_in(&options.bin_dir, &cni_names::LINKS),
        };
        let mut folder = Folder::open(&options.conf_dir, Replace::If(conflist::is_flannels))?;
        let placed = folder.list(&options.conf_name, &list)?;
        match placed.outcome {
            Outcome::Kept => bail!(
                "{} is somebody else's list; remove it, or choose another --cni-conf-name",
                placed.file.display()
            ),
            Outcome::Installed => {
                let appended = placed.appended.join(", ");
                tracing::info!(file = %placed.file.display(), appended, "network configuration list placed");
            }
            Outcome::Unchanged => {}
        }
        let mut missing = conflist::missing_plugins(&list, &options.bin_dir);
        let there = |name: &String| options.bin_dir.join(name).exists();
        missing.extend(placed.appended.iter().filter(|name| !there(name)).cloned());
        let warning = (!missing.is_empty()).then(|| {
            format!(
                "the list names plugins that are not in {}: {}; no pod starts without them",
                options.bin_dir.display(),
                missing.join(", ")
            )
        });
        Ok((placed.file, warning))
    }

    /// Files that the runtime uses instead of ours.
    fn shadows(&self) -> Result<Vec<String>> {
        let options = &self.options;
        let before = conflist::sorting_before(&options.conf_dir, &options.conf_name)?;
        let warning = |path: &PathBuf| {
            format!(
                "{} sorts before {}: the runtime uses it instead; remove it, or choose an earlier --cni-conf-name",
                path.display(),
                options.conf_name
            )
        };
        Ok(before.iter().map(warning).collect())
    }

    fn withdraw(&self, reason: &str) {
        let options = &self.options;
        let removed = Folder::open(&options.conf_dir, Replace::Ours)
            .and_then(|mut folder| folder.withdraw(&options.conf_name));
        match removed {
            Ok(true) => tracing::info!(reason, "network configuration list taken away"),
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "network configuration list not taken away"
            ),
        }
    }

    fn tell(&self, status: &CniStatus) {
        if let Some(error) = status
            .error
            .as_ref()
            .filter(|_| status.error != self.told.error)
        {
            tracing::error!(error, "CNI files are not in place");
        }
        for warning in &status.warnings {
            if !self.told.warnings.contains(warning) {
                tracing::warn!(warning, "CNI");
            }
        }
    }
}

#[cfg(test)]
mod tests;
