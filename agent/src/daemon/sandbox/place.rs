//! A place in the tree of files.

use std::path::PathBuf;

/// A folder or file with what may be done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) path: PathBuf,
    pub(super) allowed: Allowed,
}

/// What may be done in a place, beside reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Files and folders are made, written, renamed and removed.
    Everything,
    /// What is there is written.
    Writing,
}
