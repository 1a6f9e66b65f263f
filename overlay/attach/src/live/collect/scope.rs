//! Where a collection looks, and what it has found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Owner;

/// The networks that are looked at, and the folders in which something of them may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Names of networks. Nothing of another one is touched.
    pub networks: BTreeSet<String>,
    /// Folders with a folder of reservations for each network.
    pub reservations: BTreeSet<PathBuf>,
    /// The plugins' records.
    pub records: PathBuf,
    /// The results that the runtime's library keeps.
    pub results: PathBuf,
}

/// What a collection has found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Attachments of containers that are gone, for the next collection.
    pub gone: BTreeSet<Owner>,
    /// Addresses that are free again.
    pub addresses: u64,
    /// Devices that limited what a container sends.
    pub devices: u64,
    /// Attachments for which nothing is forwarded any more.
    pub rules: u64,
    /// What could not be removed, and why.
    pub errors: Vec<String>,
}

impl Collected {
    /// All that was removed.
    pub fn total(&self) -> u64 {
        self.addresses + self.devices + self.rules
    }

    pub(super) fn note<T>(
        &mut self,
        what: &Path,
        done: Result<T, impl std::fmt::Display>,
    ) -> Option<T> {
        done.map_err(|error| self.errors.push(format!("{}: {error}", what.display())))
            .ok()
    }
}
