//! A folder to install into, with the record of what was installed before.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use tweed_host::bounded_file::{self, Links};

use super::limits::{LIST_LIMIT, PLUGIN_LIMIT};
use super::record::Record;
use crate::config::cni_names::PLUGIN;
use crate::files::atomic;

/// What happened to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was written.
    Installed,
    /// It was as it should be.
    Unchanged,
    /// Somebody else's file of that name stays.
    Kept,
}

/// A file, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    pub file: PathBuf,
    /// What happened to it.
    pub outcome: Outcome,
    /// What others have appended to it, if it is a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub appended: Vec<String>,
}

/// Which files that aren't ours may be replaced.
#[derive(Clone, Copy, Debug)]
pub enum Replace {
    /// None.
    Ours,
    /// Those whose content this says yes to.
    If(fn(&[u8]) -> bool),
    All,
}

/// A folder, opened for installing.
pub struct Folder<'a> {
    pub(super) dir: &'a Path,
    replace: Replace,
    pub(super) record: Record,
}

impl<'a> Folder<'a> {
    /// Opens a folder, and makes it if need be.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(dir: &'a Path, replace: Replace) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self {
            dir,
            replace,
            record: Record::load(dir),
        })
    }

    /// Puts a file there unless it is there, or somebody else's is.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn file(&mut self, name: &str, content: &[u8], mode: u32) -> anyhow::Result<Placed> {
        let path = self.dir.join(name);
        let there = read(&path, name)?;
        let outcome = match there {
            Some(there) if there == content && !path.is_symlink() => Outcome::Unchanged,
            Some(there) if !self.may_replace(name, &there) => Outcome::Kept,
            _ => Outcome::Installed,
        };
        if outcome == Outcome::Installed {
            // First the record: should the power go between the two, the file is still known as ours or absent.
            self.record.add(name, content);
            self.record.save(self.dir)?;
            atomic::replace(&path, content, mode)?;
        }
        Ok(Placed {
            file: path,
            outcome,
            appended: Vec::new(),
        })
    }

    /// Makes a link to the plugin unless something else of that name is there.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn link(&self, name: &str) -> anyhow::Result<Placed> {
        let path = self.dir.join(name);
        let outcome = match std::fs::read_link(&path) {
            Ok(target) if target == Path::new(PLUGIN) => Outcome::Unchanged,
            Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Installed,
            _ if matches!(self.replace, Replace::All) => Outcome::Installed,
            _ => Outcome::Kept,
        };
        if outcome == Outcome::Installed {
            atomic::replace_link(&path, Path::new(PLUGIN))?;
        }
        Ok(Placed {
            file: path,
            outcome,
            appended: Vec::new(),
        })
    }

    /// All that is ours: recorded files with a content of ours, and then the record itself. Links come first, since
    /// nothing may point into the void.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn ours(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut links = Vec::new();
        let entries = std::fs::read_dir(self.dir);
        let entries = entries.with_context(|| format!("list {}", self.dir.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let to_us = std::fs::read_link(&path).is_ok_and(|to| to == Path::new(PLUGIN));
            if to_us && self.record.names().any(|name| name == PLUGIN) {
                links.push(path);
            }
        }
        links.sort();
        for name in self.record.names() {
            let path = self.dir.join(name);
            let ours = |there: Vec<u8>| {
                let parts = self.parts(name, &there, "");
                self.is_our_list(name, &there, parts.as_ref())
            };
            if read(&path, name)?.is_some_and(ours) {
                links.push(path);
            }
            links.extend(Some(self.kept(name)).filter(|file| file.exists()));
        }
        links.extend(Some(Record::file(self.dir)).filter(|file| file.exists()));
        Ok(links)
    }

    pub(super) fn may_replace(&self, name: &str, there: &[u8]) -> bool {
        self.record.is_ours(name, there)
            || match self.replace {
                Replace::Ours => false,
                Replace::If(test) => test(there),
                Replace::All => true,
            }
    }
}

/// The content of a file; `None` if there is nothing of that name.
pub(super) fn read(path: &Path, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let limit = match name {
        PLUGIN => PLUGIN_LIMIT,
        _ => LIST_LIMIT,
    };
    // A link is ours if it points to our plugin.
    match bounded_file::read(path, Links::Followed, limit) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
