//! Leases on disk: a file each, which is there before the container is told its address. A daemon that is started again
//! goes on with them.
//!
//! A network namespace ends with the boot, and so does the use of its lease: nothing needs to reach the disk before a power
//! cut, and what another boot has left is removed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_host::whole_file::{OnDisk, Replacement};
use tweed_model::Mac;

use crate::key::Key;
use crate::lease::Lease;
use crate::message::Options;

/// The longest file that is read, in bytes. A lease has less than 10 KiB.
const LONGEST: usize = 64 * KIB;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// All that is needed to go on with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub key: Key,
    pub place: Place,
    pub request: Vec<u8>,
    pub provide: Options,
    pub lease: Lease,
}

/// Where the interface is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The path of the namespace, as the plugin named it.
    pub netns: PathBuf,
    /// Device and inode of the namespace: another one may be at the path later.
    pub id: (u64, u64),
    /// The interface's index, which stays when it is renamed.
    pub index: u32,
    pub hardware: Mac,
    /// Whether answers have to go to everybody.
    pub broadcast: bool,
}

/// A folder of leases.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    boot: String,
}

#[derive(Serialize, Deserialize)]
struct OfBoot<R> {
    boot: String,
    record: R,
}

impl Place {
    /// Whether the namespace is still at its path. `prefix` is put before that.
    pub fn is_there(&self, prefix: &str) -> bool {
        let found = fs::metadata(prefixed(prefix, &self.netns));
        found.is_ok_and(|found| (found.dev(), found.ino()) == self.id)
    }
}

/// A path of the host as this process sees it.
pub fn prefixed(prefix: &str, path: &Path) -> PathBuf {
    match prefix {
        "" => path.to_owned(),
        prefix => PathBuf::from(format!("{prefix}{}", path.display())),
    }
}

impl Records {
    /// Opens a folder, which is made if need be.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Ok(Self {
            dir: dir.to_owned(),
            boot: boot.trim().to_owned(),
        })
    }

    /// All leases of this boot. Other files are removed, and named in the second list.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn read(&self) -> io::Result<(Vec<Record>, Vec<String>)> {
        let (mut records, mut removed) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match self.read_file(&path) {
                Ok(record) => records.push(record),
                Err(why) => {
                    removed.push(format!("{}: {why}", path.display()));
                    let _ = fs::remove_file(path);
                }
            }
        }
        Ok((records, removed))
    }

    fn read_file(&self, path: &Path) -> Result<Record, String> {
        let text = bounded_file::read_text(path, Links::Refused, LONGEST);
        let text = text.map_err(|error| error.to_string())?;
        let read: OfBoot<Record> =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if read.boot != self.boot {
            return Err("a lease of an earlier boot".into());
        }
        if path.file_name() != Some(read.record.key.file_name().as_ref()) {
            return Err("the name is another lease's".into());
        }
        Ok(read.record)
    }

    /// Writes a lease, readable by its owner alone.
    ///
    /// # Errors
    /// When it can't be written: a full disk, a read-only one. What stood there is as it was.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.key);
        let whole = OfBoot {
            boot: self.boot.clone(),
            record,
        };
        let text = serde_json::to_string(&whole).map_err(io::Error::other)?;
        let replacement = Replacement {
            unfinished: &path.with_extension("unfinished"),
            mode: Some(0o600),
            modified: None,
            on_disk: OnDisk::Nothing,
        };
        replacement.write(&path, text.as_bytes())
    }

    /// Removes a lease that may be gone.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub fn remove(&self, key: &Key) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(key.file_name())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(container: &str) -> Record {
        Record {
            key: Key {
                container: container.into(),
                network: "net".into(),
                interface: "eth0".into(),
            },
            place: Place {
                netns: "/run/netns/pod".into(),
                id: (4, 5),
                index: 2,
                hardware: Mac([2, 0, 0, 0, 0, 1]),
                broadcast: true,
            },
            request: vec![1, 3],
            provide: [(12, b"web".to_vec())].into(),
            lease: Lease {
                address: "10.0.0.9/24".parse().unwrap(),
                server: [10, 0, 0, 1].into(),
                gateway: None,
                routes: Vec::new(),
                name_servers: Vec::new(),
                domain: String::new(),
                since: std::time::Duration::from_millis(1500),
                renew: 10,
                rebind: 15,
                expire: 20,
            },
        }
    }

    #[test]
    fn leases_are_read_as_they_were_written_and_what_is_no_lease_of_this_boot_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&dir.path().join("leases")).unwrap();
        records.write(&record("a")).unwrap();
        records.write(&record("b")).unwrap();
        let path = records.path(&record("a").key);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let old = fs::read_to_string(&path).unwrap();
        let at = |name: &str| records.dir.join(name);
        fs::write(at("half.json"), &old[..40]).unwrap();
        fs::write(at("other.json"), &old).unwrap();
        let earlier = old.replace(&records.boot, "another boot");
        fs::write(&path, earlier).unwrap();
        let (read, removed) = records.read().unwrap();
        assert_eq!(read, [record("b")]);
        assert_eq!(removed.len(), 3, "{removed:?}");
        records.remove(&record("b").key).unwrap();
        records.remove(&record("b").key).unwrap();
        assert_eq!(fs::read_dir(&records.dir).unwrap().count(), 0);
    }
}
