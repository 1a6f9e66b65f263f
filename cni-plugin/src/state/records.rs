//! Records of attachments: from them the agent restores objects that another program has removed, and DEL knows without
//! a look at the packet filter whether there is anything to remove.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tweed_attach::record::{ELSEWHERE, ENDING, FolderPointer, RECORDS_DIR, leaving};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_host::whole_file::OnDisk;
use tweed_netlink::netns::Netns;

use crate::net::identity::hash;
use crate::runtime::log;
use crate::spec::{CniError, Context, NetConf, json};
use crate::state::file;

/// The folder of records, in a configuration that may otherwise be broken.
pub(crate) fn state_dir(conf: &NetConf) -> PathBuf {
    let dir = json::get(&conf.raw, "stateDir").and_then(Value::as_str);
    state_dir_of(dir.unwrap_or_default().to_owned())
}

/// The folder of records, as a configuration names it.
pub(crate) fn state_dir_of(dir: String) -> PathBuf {
    match dir.as_str() {
        "" => RECORDS_DIR.into(),
        _ => dir.into(),
    }
}

/// Writes a record, whole or not at all, and makes its folder.
///
/// # Errors
/// When either can't be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), CniError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| file::replace(path, &file::unfinished(path), text, OnDisk::Nothing))
        .context(|| format!("write {}", path.display()))?;
    if folder != Path::new(RECORDS_DIR)
        && let Err(error) = point_to(folder, &Path::new(RECORDS_DIR).join(ELSEWHERE))
    {
        log::line(format_args!(
            "tweed: the agent will not find the records in {} (stateDir), and not restore what another program flushes: {error}",
            folder.display()
        ));
    }
    Ok(())
}

/// Points the agent, which looks into one folder, to another. Pointers to folders that are gone are removed with the
/// next new one.
fn point_to(folder: &Path, pointers: &Path) -> io::Result<()> {
    let pointer = FolderPointer {
        folder: fs::canonicalize(folder)?,
        netns: Netns::id_of_caller()?,
    };
    let text = pointer.render();
    let path = pointers.join(format!("{:016x}.json", hash(&[&text])));
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(pointers)?;
    for (old, pointer) in all(pointers, FolderPointer::parse) {
        if !pointer.folder.exists() {
            // Another plugin may have been faster.
            let _ = fs::remove_file(old);
        }
    }
    file::replace(&path, &file::unfinished(&path), &text, OnDisk::Nothing)
}

/// The text of a record, if there is one, also while its attachment is being removed.
pub(crate) fn read(path: &Path) -> Option<String> {
    let text = |path: &Path| bounded_file::read_text(path, Links::Refused, MIB).ok();
    text(path).or_else(|| text(&leaving(path)))
}

/// Notes that the attachment of a record is being removed: what of it is missing from now on is not put back. Nothing is
/// to be done where there is no record.
///
/// # Errors
/// When there is one and it can't be renamed.
pub(crate) fn leave(path: &Path) -> Result<(), CniError> {
    if path.extension() != Some(OsStr::new(&ENDING[1..])) {
        return Ok(());
    }
    match fs::rename(path, leaving(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || !path.exists() => Ok(()),
        renamed => renamed.context(|| format!("rename {}", path.display())),
    }
}

/// All records of one kind, with their files.
pub(crate) fn all<T>(dir: &Path, parse: impl Fn(&str) -> Option<T>) -> Vec<(PathBuf, T)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let text = bounded_file::read_text(&path, Links::Refused, MIB).ok()?;
            let record = parse(&text)?;
            Some((path, record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_pointed_to_once_and_a_pointer_to_a_folder_that_is_gone_goes() {
        let dir = tempfile::tempdir().unwrap();
        let pointers = dir.path().join("pointers");
        let folders = ["one", "two"].map(|name| dir.path().join(name));
        fs::create_dir(&folders[0]).unwrap();
        for _ in 0..2 {
            point_to(&folders[0], &pointers).unwrap();
        }
        let left = all(&pointers, FolderPointer::parse);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1.folder, fs::canonicalize(&folders[0]).unwrap());

        fs::create_dir(&folders[1]).unwrap();
        fs::remove_dir(&folders[0]).unwrap();
        point_to(&folders[1], &pointers).unwrap();
        let left = all(&pointers, FolderPointer::parse);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1.folder, fs::canonicalize(&folders[1]).unwrap());
    }
}
