//! An archive in the form in which the kernel takes its first file system: cpio, "newc".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;

/// The files of a file system, by absolute path.
#[derive(Debug, Default)]
pub(super) struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
    /// Of a device.
    number: (u32, u32),
}

impl Archive {
    /// A regular file with these permissions.
    pub(super) fn file(&mut self, path: impl Into<PathBuf>, permissions: u32, content: Vec<u8>) {
        self.add(path.into(), 0o100_000 | permissions, content);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: impl Into<PathBuf>, to: &str) {
        self.add(path.into(), LINK, to.into());
    }

    /// An empty folder. Those that files lie in need not be named.
    pub(super) fn folder(&mut self, path: impl Into<PathBuf>) {
        self.add(path.into(), FOLDER, Vec::new());
    }

    /// The terminal that the first process gets.
    pub(super) fn console(&mut self) {
        self.add("/dev/console".into(), CONSOLE, Vec::new());
        if let Some(entry) = self.entries.get_mut(Path::new("/dev/console")) {
            entry.number = (5, 1);
        }
    }

    /// Whether there is something at this path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    fn add(&mut self, path: PathBuf, mode: u32, content: Vec<u8>) {
        let number = (0, 0);
        self.entries.insert(
            path,
            Entry {
                mode,
                content,
                number,
            },
        );
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// When a path is not UTF-8, or a file is larger than the format allows.
    pub(super) fn bytes(mut self) -> Result<Vec<u8>> {
        let parents: BTreeSet<PathBuf> = self
            .entries
            .keys()
            .flat_map(|path| path.ancestors().skip(1).map(Path::to_owned))
            .collect();
        for parent in parents
            .into_iter()
            .filter(|parent| parent.parent().is_some())
        {
            if !self.has(&parent) {
                self.folder(parent);
            }
        }
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            let name = path
                .to_str()
                .with_context(|| format!("{} is not UTF-8", path.display()))?;
            append(&mut bytes, number, name.trim_start_matches('/'), entry)?;
        }
        let end = Entry {
            mode: 0,
            content: Vec::new(),
            number: (0, 0),
        };
        append(&mut bytes, 0, "TRAILER!!!", &end)?;
        Ok(bytes)
    }
}

fn append(bytes: &mut Vec<u8>, inode: u32, name: &str, entry: &Entry) -> Result<()> {
    let length = |what: usize| u32::try_from(what).with_context(|| format!("{name} is too large"));
    let fields = [
        inode,
        entry.mode,
        0,
        0,
        1,
        0,
        length(entry.content.len())?,
        0,
        0,
        entry.number.0,
        entry.number.1,
        length(name.len() + 1)?,
        0,
    ];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08x}").into_bytes());
    }
    bytes.extend(name.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.content);
    pad(bytes);
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_fields_of_newc_in_their_places() {
        let mut archive = Archive::default();
        archive.file("/a", 0o755, b"hello".to_vec());
        let text = String::from_utf8(archive.bytes().unwrap()).unwrap();
        let header = concat!(
            "07070100000001000081ed000000000000000000000001000000000000000500000000000000000000000000000000",
            "0000000200000000"
        );
        assert_eq!(&text[..110], header);
        assert_eq!(&text[110..120], "a\0hello\0\0\0");
        assert_eq!(&text[120..126], "070701");
        assert!(text.contains("TRAILER!!!\0") && text.len().is_multiple_of(4));
    }

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let mut archive = Archive::default();
        archive.link("/usr/sbin/ip", "/usr/bin/ip");
        let text = String::from_utf8(archive.bytes().unwrap()).unwrap();
        let place = |name: &str| text.find(&format!("{name}\0")).unwrap();
        assert!(place("usr") < place("usr/sbin") && place("usr/sbin") < place("usr/sbin/ip"));
    }
}
