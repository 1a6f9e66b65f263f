//! Files that others read while they are written: a new file beside the old one, then a rename. A reader finds the old
//! content or the new one, and so does the next start after a power cut, as far as the caller asks for that.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

/// What has reached the disk when a file is replaced. Each costs the wait for the disk once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing need have. For what a power cut makes meaningless.
    Nothing,
    /// The content, before it has its name: after a power cut the old or the new file is there, whole.
    Content,
    /// The name too: the new file is there.
    Name,
}

/// How a file is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Replacement<'a> {
    /// Where the content is until it is whole: in the same folder, and no other process's at the same time.
    pub unfinished: &'a Path,
    /// Permissions, whatever the umask; by default what the umask leaves.
    pub mode: Option<u32>,
    /// The time of change that the file is given, instead of the present.
    pub modified: Option<SystemTime>,
    /// What has reached the disk.
    pub on_disk: OnDisk,
}

impl Replacement<'_> {
    /// Replaces what is at `path`, if anything is.
    ///
    /// # Errors
    /// If any step fails. The old file is then untouched and nothing is left beside it, except where the name itself
    /// could not be brought to the disk.
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // A killed process has left it, or somebody who wants a link of his followed.
        let _ = fs::remove_file(self.unfinished);
        let file = self.create()?;
        self.fill(file, content)
            .and_then(|()| fs::rename(self.unfinished, path))
            .inspect_err(|_| {
                // The error that counts is the first.
                let _ = fs::remove_file(self.unfinished);
            })?;
        match self.on_disk {
            OnDisk::Name => sync_folder(path),
            OnDisk::Nothing | OnDisk::Content => Ok(()),
        }
    }

    /// Readable by nobody else until it is whole.
    fn create(&self) -> io::Result<File> {
        let mode = if self.mode.is_some() { 0o600 } else { 0o666 };
        let mut options = File::options();
        options.write(true).create_new(true).mode(mode);
        options.open(self.unfinished)
    }

    fn fill(&self, mut file: File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)?;
        if let Some(mode) = self.mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        if let Some(modified) = self.modified {
            file.set_modified(modified)?;
        }
        match self.on_disk {
            OnDisk::Content | OnDisk::Name => file.sync_all(),
            OnDisk::Nothing => Ok(()),
        }
    }
}

/// Brings the names in a file's folder to the disk.
///
/// # Errors
/// If the folder can't be opened or the disk fails.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn replacement(unfinished: &Path) -> Replacement<'_> {
        Replacement {
            unfinished,
            mode: Some(0o640),
            modified: None,
            on_disk: OnDisk::Name,
        }
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, unfinished) = (dir.path().join("file"), dir.path().join(".new"));
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (text, modified) in [("a longer one", None), ("short", Some(long_ago))] {
            let how = Replacement {
                modified,
                ..replacement(&unfinished)
            };
            how.write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let found = path.metadata().unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o640);
        assert_eq!(found.modified().unwrap(), long_ago);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_stands_in_the_place_of_the_unfinished_file_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("elsewhere"), "kept").unwrap();
        let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).unwrap();
        let link = |path: &Path| symlink(at("elsewhere"), path).unwrap();
        let name = |path: &Path| fs::hard_link(at("elsewhere"), path).unwrap();
        for place in [&fifo as &dyn Fn(&Path), &link, &name] {
            place(&at(".new"));
            replacement(&at(".new"))
                .write(&at("file"), b"whole")
                .unwrap();
            assert_eq!(fs::read_to_string(at("file")).unwrap(), "whole");
        }
        assert_eq!(fs::read_to_string(at("elsewhere")).unwrap(), "kept");
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        let unfinished = dir.path().join(".new");
        assert!(replacement(&unfinished).write(&path, b"text").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
