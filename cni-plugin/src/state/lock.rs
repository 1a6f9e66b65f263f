//! A file lock with a deadline.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tweed_host::bounded_file::{self, Links};
use tweed_host::file_lock::{self, Sharing};

use crate::spec::{CniError, Context, Kind};

/// Takes an exclusive lock on a file, which is made if need be. The lock ends with the returned file.
///
/// # Errors
/// When the file can't be opened, or another process holds the lock past the deadline.
pub(crate) fn exclusive(path: &Path, deadline: Duration) -> Result<File, CniError> {
    let what = || format!("lock {}", path.display());
    let file = open(path).context(what)?;
    match file_lock::acquire(&file, Sharing::Exclusive, deadline) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(held(path, deadline)),
        Err(error) => Err(CniError::from(error).context(what())),
    }
}

/// Takes a lock, unless another process has it.
///
/// # Errors
/// When the file can't be opened.
pub(crate) fn attempt(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn held(path: &Path, deadline: Duration) -> CniError {
    let (path, seconds) = (path.display(), deadline.as_secs());
    let msg = format!("lock {path}: held by another process for {seconds} s");
    CniError::new(Kind::TryLater, msg).details(format!(
        "end that process (`fuser -v {path}` names it), or try again later"
    ))
}

/// Read-only where it is there, so that it need not be writable. The Go plugin locks the same file.
fn open(path: &Path) -> io::Result<File> {
    match bounded_file::open(path, Links::Refused) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut options = File::options();
            options.write(true).create(true).mode(0o600);
            bounded_file::open_with(&mut options, path, Links::Refused)
        }
        file => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_stays_taken_ends_the_wait_with_try_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let soon = Duration::from_millis(20);
        let held = exclusive(&path, soon).unwrap();
        let error = exclusive(&path, soon).unwrap_err();
        assert_eq!(error.kind, Kind::TryLater);
        drop(held);
        assert!(exclusive(&path, soon).is_ok());
    }
}
