//! Which files of a folder an earlier run put there: their checksums, in a hidden file beside them. It travels with the
//! folder, so that a container that mounts it knows too. Runtimes pass over it: it has none of their extensions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tweed_host::bounded_file::{self, Links, MIB};

use crate::files::atomic;

const FILE: &str = ".tweed-installed";

/// Behind a list's name: checksums of what it is without the entries of others, and the types of its entries. No file has
/// such a name.
const OWN_PART: &str = " without others";
const TYPES: &str = " types";

/// Checksums by file name. Some of a file's may be from earlier runs: whichever of them is found is ours.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Record(BTreeMap<String, Vec<String>>);

impl Record {
    /// The record of a folder. One that is missing or can't be understood knows nothing, so that every file counts as
    /// somebody else's.
    pub(super) fn load(dir: &Path) -> Self {
        let text = bounded_file::read(&Self::file(dir), Links::Refused, MIB).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn is_ours(&self, name: &str, content: &[u8]) -> bool {
        let sums = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        sums.contains(&checksum(content))
    }

    /// The names of all files that were installed.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| !name.ends_with(OWN_PART) && !name.ends_with(TYPES))
    }

    /// Remembers a content that is about to be written, and the one before it.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        let sums = self.0.entry(name.to_owned()).or_default();
        let sum = checksum(content);
        sums.retain(|old| *old != sum);
        sums.insert(0, sum);
        sums.truncate(2);
    }

    /// Whether a list is one that was placed here, to which others may have appended.
    pub(super) fn is_own_part(&self, list: &str, own_part: &str) -> bool {
        self.is_ours(&format!("{list}{OWN_PART}"), own_part.as_bytes())
    }

    /// The types of the entries of the list that was placed last, if that is known.
    pub(super) fn types(&self, list: &str) -> Option<&[String]> {
        let types = self.0.get(&format!("{list}{TYPES}"));
        types.map(Vec::as_slice)
    }

    /// Remembers a list that is about to be written, apart from what others have appended.
    pub(super) fn add_list(&mut self, list: &str, own_part: &str, types: Vec<String>) {
        self.add(&format!("{list}{OWN_PART}"), own_part.as_bytes());
        self.0.insert(format!("{list}{TYPES}"), types);
    }

    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("encode the record")?;
        atomic::replace(&Self::file(dir), &text, 0o644)
    }

    /// Where the record of a folder is.
    pub(super) fn file(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }
}

fn checksum(content: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(content).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
