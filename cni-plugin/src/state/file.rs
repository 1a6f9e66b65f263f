//! Small files that other processes read: written whole or not at all, removed if they are there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, Links};
use tweed_host::whole_file::{OnDisk, Replacement};

use crate::net::identity::hash;
use crate::spec::{CniError, Context};

/// Puts a text in place of what is at `path`, by way of `unfinished` in the same folder, readable by its owner alone.
///
/// # Errors
/// The file is then as it was.
pub(crate) fn replace(
    path: &Path,
    unfinished: &Path,
    text: &str,
    on_disk: OnDisk,
) -> io::Result<()> {
    let replacement = Replacement {
        unfinished,
        mode: Some(0o600),
        modified: None,
        on_disk,
    };
    replacement.write(path, text.as_bytes())
}

/// Replaces the text of a file without emptying it first: ext4 writes a file that was emptied to the disk when it is
/// closed (4 ms seen on Linux 6.18). A reader without lock may see a mixture.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = open_to_overwrite(path)?;
    file.write_all(text.as_bytes())?;
    let length = text.len() as u64;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(())
}

/// A file to write, made if need be. Anything else under that name is removed; no link is followed and no FIFO waited
/// for.
///
/// # Errors
/// When it can't be made.
pub(crate) fn open_to_overwrite(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600);
    let file = match bounded_file::open_with(&mut options, path, Links::Refused) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
        file => Some(file?),
    };
    // One with a second name may be another program's.
    match file {
        Some(file) if file.metadata()?.nlink() <= 1 => Ok(file),
        _ => {
            fs::remove_file(path)?;
            bounded_file::open_with(&mut options, path, Links::Refused)
        }
    }
}

/// Where the text of a file is until it is whole: in the same folder, the same for each attempt.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{:016x}.unfinished", hash(&[&name])))
}

/// Removes a file that may be gone, and what a killed process may have left of it.
///
/// # Errors
/// When it is there and can't be removed.
pub(crate) fn forget(path: &Path) -> Result<(), CniError> {
    remove(&unfinished(path)).and_then(|()| remove(path))
}

/// Removes a file that may be gone.
///
/// # Errors
/// When it is there and can't be removed.
pub(crate) fn remove(path: &Path) -> Result<(), CniError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file system that is read-only says so before it looks.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && !is_there(path) => {
            Ok(())
        }
        removed => removed.context(|| format!("remove {}", path.display())),
    }
}

fn is_there(path: &Path) -> bool {
    !path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_text_leaves_nothing_of_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for text in ["10.244.1.100", "10.244.1.2", ""] {
            overwrite(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn what_stands_in_the_place_of_a_file_of_ours_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("elsewhere"), "kept").unwrap();
        let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let link = |path: &Path| std::os::unix::fs::symlink(at("elsewhere"), path).unwrap();
        let name = |path: &Path| fs::hard_link(at("elsewhere"), path).unwrap();
        for place in [&fifo as &dyn Fn(&Path), &link, &name] {
            place(&at("cursor"));
            overwrite(&at("cursor"), "10.0.0.2").unwrap();
            assert_eq!(fs::read_to_string(at("cursor")).unwrap(), "10.0.0.2");
            fs::remove_file(at("cursor")).unwrap();
        }
        assert_eq!(fs::read_to_string(at("elsewhere")).unwrap(), "kept");
    }

    #[test]
    fn what_is_gone_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("none")).unwrap();
    }
}
