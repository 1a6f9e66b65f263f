//! Removes a file or a folder.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

/// Removes a file, or a folder with what is in it; whether there was one.
pub(super) fn remove(path: &Path) -> anyhow::Result<bool> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
