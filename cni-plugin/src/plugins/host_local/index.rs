//! What is reserved and for whom, in one file, `.index`: with 60,000 reservations it is read in a millisecond, their names
//! in 25, and themselves in 300.
//!
//! It is ours alone and may be deleted at any time. It is trusted while the folder has been changed by nobody since: its
//! time of change and its cursors are those that stand in the file. Go's plugin adds addresses without it, and moves a
//! cursor with each; the time alone would not do, since older kernels count it in steps of 4 ms.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, KIB, Links, MIB};

use super::holder::Holder;
use crate::net::identity::hash;
use crate::state::file;

/// The longest file that is read: a /12 in full has 24 MiB.
const LONGEST: usize = 64 * MIB;
const MAGIC: [u8; 8] = *b"tweed-i1";
const STAMP: usize = 24;
const HEADER: usize = MAGIC.len() + STAMP;
/// An address in IPv6's form, and the holder's tag.
const ENTRY: usize = 16 + 8;

/// All reservations, each with the [`tag`] of its holder.
pub(super) type Listing = BTreeMap<IpAddr, u64>;

/// The index of one network's folder. All of it is best effort: without it everything is read.
pub(super) struct Index {
    dir: PathBuf,
}

/// A number that two holders hardly share. The reservation itself says whose it is.
pub(super) fn tag(holder: &Holder) -> u64 {
    let ifname = holder.ifname.as_deref().unwrap_or_default();
    hash(&[&holder.container_id, ifname])
}

/// The cursor of a range set, as it stands there.
pub(super) fn cursor(dir: &Path, set: usize) -> Option<String> {
    let path = dir.join(format!("last_reserved_ip.{set}"));
    bounded_file::read_text(&path, Links::Refused, 4 * KIB).ok()
}

impl Index {
    pub(super) fn of(network_dir: &Path) -> Self {
        Self {
            dir: network_dir.to_owned(),
        }
    }

    /// What stands in the file; `None` when it is not to be trusted.
    pub(super) fn read(&self) -> Option<Listing> {
        let bytes = bounded_file::read(&self.path(), Links::Refused, LONGEST).ok()?;
        let (header, entries) = bytes.split_at_checked(HEADER)?;
        let is_trusted = header[..8] == MAGIC && header[8..] == self.stamp()?;
        if !is_trusted || entries.len() % ENTRY != 0 {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let (address, tag) = bytes.split_at(16);
            let address: [u8; 16] = address.try_into().ok()?;
            let address = IpAddr::V6(Ipv6Addr::from(address)).to_canonical();
            Some((address, u64::from_be_bytes(tag.try_into().ok()?)))
        };
        entries.chunks_exact(ENTRY).map(entry).collect()
    }

    /// Writes everything, after the last change to the folder.
    pub(super) fn write(&self, listing: &Listing) {
        // What can't be written is not trusted.
        let _ = self.try_write(listing);
    }

    /// In place, since a new name would change the folder. Its stamp goes last: a file that a killed process has left half
    /// written has none.
    fn try_write(&self, listing: &Listing) -> io::Result<()> {
        let mut bytes = vec![0; HEADER];
        for (address, tag) in listing {
            let address = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => *v6,
            };
            bytes.extend(address.octets());
            bytes.extend(tag.to_be_bytes());
        }
        let file = file::open_to_overwrite(&self.path())?;
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        let stamp = self.stamp().unwrap_or_default();
        file.write_all_at(&[&MAGIC[..], &stamp].concat(), 0)
    }

    fn stamp(&self) -> Option<[u8; STAMP]> {
        let folder = fs::metadata(&self.dir).ok()?;
        let cursors: Vec<String> = (0..).map_while(|set| cursor(&self.dir, set)).collect();
        let cursors: Vec<&str> = cursors.iter().map(String::as_str).collect();
        let numbers = [
            folder.mtime().to_be_bytes(),
            folder.mtime_nsec().to_be_bytes(),
            hash(&cursors).to_be_bytes(),
        ];
        numbers.concat().try_into().ok()
    }

    fn path(&self) -> PathBuf {
        self.dir.join(".index")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let holder = |id: &str| Holder {
            container_id: id.into(),
            ifname: Some("eth0".into()),
        };
        [
            ("10.0.0.2".parse().unwrap(), tag(&holder("a"))),
            ("fd00::2".parse().unwrap(), tag(&holder("b"))),
        ]
        .into()
    }

    #[test]
    fn it_is_trusted_until_another_program_changes_the_folder_or_a_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let index = Index::of(dir.path());
        assert_eq!(index.read(), None);
        fs::write(at("last_reserved_ip.0"), "10.0.0.2").unwrap();
        index.write(&listing());
        assert_eq!(index.read(), Some(listing()));
        index.write(&Listing::new());
        assert_eq!(index.read(), Some(Listing::new()), "a shorter one");

        fs::write(at("last_reserved_ip.0"), "10.0.0.3").unwrap();
        assert_eq!(index.read(), None, "in place, which changes no folder");
        index.write(&listing());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(at("10.0.0.9"), "c").unwrap();
        assert_eq!(index.read(), None);
        index.write(&listing());
        assert_eq!(index.read(), Some(listing()));
        let bytes = fs::read(at(".index")).unwrap();
        fs::write(at(".index"), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(index.read(), None, "half of it");
    }
}
