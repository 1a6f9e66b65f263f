//! Who holds what, without reading every reservation: in `.by-id/`, a symlink `<container ID>,<interface>,<n>` to each
//! address file. With 20,000 reservations a look-up reads two lists of names instead of 20,000 files.
//!
//! The folder is ours alone and may be deleted at any time. It can be trusted when it has as many entries as there are
//! reservations: one that Go's plugin adds has no symlink, and one that it releases takes its symlink along, because
//! that plugin removes whatever file in the tree reads as the owner. Every entry is verified before it is believed.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::store::Owner;

/// The index of one network's folder. All of it is best effort: what is missing is found by reading everything.
pub(super) struct Index {
    dir: PathBuf,
}

impl Index {
    /// The index of a folder, whether it exists or not.
    pub(super) fn of(network_dir: &Path) -> Self {
        Self {
            dir: network_dir.join(".by-id"),
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        fs::read_dir(&self.dir).map_or(0, Iterator::count)
    }

    /// What is recorded for an owner.
    pub(super) fn get(&self, owner: &Owner) -> Vec<IpAddr> {
        (0..).map_while(|n| target(&self.entry(owner, n))).collect()
    }

    /// Records one more address of an owner.
    pub(super) fn add(&self, owner: &Owner, addr: IpAddr) {
        let free = (0..).find(|n| target(&self.entry(owner, *n)).is_none());
        let entry = self.entry(owner, free.unwrap_or_default());
        if link(&entry, addr).is_err() && fs::create_dir_all(&self.dir).is_ok() {
            // Left over from an entry whose target can't be read, or the first entry of all.
            let _ = fs::remove_file(&entry);
            let _ = link(&entry, addr);
        }
    }

    /// Forgets an owner.
    pub(super) fn remove(&self, owner: &Owner) {
        let _ = (0..).try_for_each(|n| fs::remove_file(self.entry(owner, n)));
    }

    /// Records everything afresh.
    pub(super) fn rebuild(&self, by_owner: &BTreeMap<Owner, Vec<IpAddr>>) {
        let _ = fs::remove_dir_all(&self.dir);
        if fs::create_dir_all(&self.dir).is_err() {
            return;
        }
        for (owner, addrs) in by_owner {
            for (n, addr) in addrs.iter().enumerate() {
                let _ = link(&self.entry(owner, n), *addr);
            }
        }
    }

    /// A comma is in neither part's alphabet. A name too long for the file system fails, and so is simply not indexed.
    fn entry(&self, owner: &Owner, n: usize) -> PathBuf {
        let ifname = owner.ifname.as_deref().unwrap_or_default();
        self.dir
            .join(format!("{},{ifname},{n}", owner.container_id))
    }
}

fn link(entry: &Path, addr: IpAddr) -> std::io::Result<()> {
    symlink(format!("../{addr}"), entry)
}

fn target(entry: &Path) -> Option<IpAddr> {
    let path = fs::read_link(entry).ok()?;
    path.file_name()?.to_str()?.parse().ok()
}
