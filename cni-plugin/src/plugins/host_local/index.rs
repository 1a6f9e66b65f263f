//! Which container holds which address, without reading every reservation: in `.by-id/`, a symlink `<container
//! ID>,<interface>,<address>` to each address file. With 20,000 reservations a look-up reads two lists of names instead
//! of 20,000 files.
//!
//! The folder is ours alone and may be deleted at any time. It is trusted when it names just the addresses that are
//! reserved. Go's plugin adds addresses without a symlink, so that the names differ; when it releases
//! an address, it takes the symlink along, because it removes whatever file in the tree reads as the holder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::holder::Holder;

/// The index of one network's folder. All of it is best effort: what is missing is found by reading everything.
pub(super) struct Index {
    dir: PathBuf,
}

/// What stands in the index.
#[derive(Default)]
pub(super) struct Listing {
    /// All addresses that it names.
    pub(super) addrs: BTreeSet<IpAddr>,
    /// Those of the holder that was asked for.
    pub(super) of_holder: Vec<IpAddr>,
}

impl Index {
    /// The index of a folder, whether it exists or not.
    pub(super) fn of(network_dir: &Path) -> Self {
        Self {
            dir: network_dir.join(".by-id"),
        }
    }

    /// Reads the names of all entries.
    pub(super) fn read(&self, holder: &Holder) -> Listing {
        let mut listing = Listing::default();
        let prefix = prefix(holder);
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.rsplit_once(','));
            let Some((holder, addr)) = parts else {
                continue;
            };
            let Ok(addr) = addr.parse() else { continue };
            listing.addrs.insert(addr);
            if holder == prefix {
                listing.of_holder.push(addr);
            }
        }
        listing
    }

    /// Records an address of a holder.
    pub(super) fn add(&self, holder: &Holder, addr: IpAddr) {
        let missing = self
            .link(holder, addr)
            .is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if missing && fs::create_dir(&self.dir).is_ok() {
            let _ = self.link(holder, addr);
        }
    }

    /// Forgets an address of a holder.
    pub(super) fn remove(&self, holder: &Holder, addr: IpAddr) {
        let _ = fs::remove_file(self.entry(holder, addr));
    }

    /// Records everything afresh.
    pub(super) fn rebuild(&self, by_holder: &BTreeMap<Holder, Vec<IpAddr>>) {
        let _ = fs::remove_dir_all(&self.dir);
        for (holder, addrs) in by_holder {
            addrs.iter().for_each(|addr| self.add(holder, *addr));
        }
    }

    /// A name too long for the file system can't be made, and then all is read each time.
    fn link(&self, holder: &Holder, addr: IpAddr) -> io::Result<()> {
        symlink(format!("../{addr}"), self.entry(holder, addr))
    }

    fn entry(&self, holder: &Holder, addr: IpAddr) -> PathBuf {
        self.dir.join(format!("{},{addr}", prefix(holder)))
    }
}

/// A comma is not in the alphabet of container IDs.
fn prefix(holder: &Holder) -> String {
    let ifname = holder.ifname.as_deref().unwrap_or_default();
    format!("{},{ifname}", holder.container_id)
}
