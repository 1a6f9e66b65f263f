//! The network configuration list in its folder, with what others have appended to it.

use std::path::PathBuf;

use anyhow::Context;

use super::folder::{Folder, Outcome, Placed, read};
use super::merge::{Parts, canonical, canonical_text, merged, types};
use crate::files::atomic;

impl Folder<'_> {
    /// Puts a list there unless it is there, or somebody else's is. Entries that others have appended stay, also those of
    /// the list that [`Folder::withdraw`] has taken away.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn list(&mut self, name: &str, wanted: &str) -> anyhow::Result<Placed> {
        let path = self.dir.join(name);
        let there = read(&path, name)?;
        let kept = self.kept(name);
        let former = match &there {
            Some(there) => Some(there.clone()),
            None => read(&kept, name)?,
        };
        let parts = former.and_then(|former| self.parts(name, &former, wanted));
        let appended = parts.as_ref().map(Parts::names).unwrap_or_default();
        let ours = there
            .as_ref()
            .is_some_and(|there| self.is_our_list(name, there, parts.as_ref()));
        let is_file = !path.is_symlink();
        let outcome = match (&there, &parts) {
            (Some(there), _) if there == wanted.as_bytes() && is_file => Outcome::Unchanged,
            (Some(_), Some(parts)) if parts.is(wanted) && is_file => Outcome::Unchanged,
            (Some(there), _) if !ours && !self.may_replace(name, there) => Outcome::Kept,
            _ => Outcome::Installed,
        };
        let own_part = canonical_text(wanted);
        if outcome == Outcome::Installed {
            let entries = parts.map(|parts| parts.appended).unwrap_or_default();
            let content = merged(wanted, &entries);
            self.record.add(name, content.as_bytes());
            self.record.add_list(name, &own_part, types(wanted));
            self.record.save(self.dir)?;
            atomic::replace(&path, content.as_bytes(), 0o644)?;
        } else if ours && !self.record.is_own_part(name, &own_part) {
            // Placed by an earlier version.
            self.record.add_list(name, &own_part, types(wanted));
            self.record.save(self.dir)?;
        }
        if there.is_none() && kept.exists() {
            std::fs::remove_file(&kept).with_context(|| format!("remove {}", kept.display()))?;
        }
        Ok(Placed {
            file: path,
            outcome,
            appended,
        })
    }

    /// Takes a list of ours away, and says whether it was there. What others have appended is kept for the next one.
    ///
    /// # Errors
    /// If it can't be read or removed.
    pub fn withdraw(&mut self, name: &str) -> anyhow::Result<bool> {
        let path = self.dir.join(name);
        let Some(there) = read(&path, name)? else {
            return Ok(false);
        };
        let parts = self.parts(name, &there, "");
        if !self.is_our_list(name, &there, parts.as_ref()) {
            return Ok(false);
        }
        if parts.is_some_and(|parts| !parts.appended.is_empty()) {
            atomic::replace(&self.kept(name), &there, 0o644)?;
        }
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        Ok(true)
    }

    /// Whether a list is one that was placed here, with or without entries of others.
    pub(super) fn is_our_list(&self, name: &str, there: &[u8], parts: Option<&Parts>) -> bool {
        let own = parts.map(|parts| canonical(&parts.own));
        self.record.is_ours(name, there)
            || own.is_some_and(|own| self.record.is_own_part(name, &own))
    }

    pub(super) fn parts(&self, name: &str, list: &[u8], wanted: &str) -> Option<Parts> {
        Parts::of(list, wanted, self.record.types(name))
    }

    /// Where a list with entries of others waits for the network to work. Runtimes pass over the name.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.dir.join(format!(".{name}.withdrawn"))
    }
}

#[cfg(test)]
mod tests;
