//! Files that others read while we write them: a new file beside the old one, then a rename.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tweed_host::whole_file::{OnDisk, Replacement, sync_folder};

/// Replaces `path` by `content` with this mode, whatever the umask. The content is on the disk before the name changes,
/// so that after a power cut either the old or the new file is there, whole.
///
/// # Errors
/// If any step fails; the old file is then untouched and nothing is left beside it.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let replacement = Replacement {
        unfinished: &beside(path),
        mode: Some(mode),
        modified: None,
        on_disk: OnDisk::Name,
    };
    let written = replacement.write(path, content);
    written.with_context(|| format!("write {}", path.display()))
}

/// Whether a file can't be made for want of room or of a writable file system, which may come back.
pub fn no_room(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    )
}

/// Makes `link` a symbolic link to `target`, replacing what is there.
///
/// # Errors
/// If any step fails.
pub fn replace_link(link: &Path, target: &Path) -> anyhow::Result<()> {
    let temporary = beside(link);
    std::os::unix::fs::symlink(target, &temporary)
        .and_then(|()| std::fs::rename(&temporary, link))
        .and_then(|()| sync_folder(link))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })
        .with_context(|| format!("link {} to {}", link.display(), target.display()))
}

/// A name in the same folder that starts with a dot, so that nobody takes the file for a configuration.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp{}", std::process::id()))
}
