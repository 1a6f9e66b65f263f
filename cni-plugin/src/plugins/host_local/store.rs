//! Reservations on disk, in the layout of Go's `host-local`, so that either plugin can serve the other's containers:
//! a file `<address>` holds `<container ID>\r\n<interface>`, `last_reserved_ip.<set>` the cursor, `lock` is flock'ed.
//!
//! Everything happens under one lock for the whole verb. A file gets its name only when its content is complete, by
//! rename, so that a killed plugin leaves no empty file. Nothing is synced to the disk: a reservation that a power cut
//! takes along belonged to a container that the power cut took along too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::FsFlags;
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_host::whole_file::OnDisk;

use super::boot;
use super::holder::Holder;
use super::index::Index;
use super::notes::Notes;
use crate::spec::{CniError, Context};
use crate::state::file;
use crate::state::lock;

/// How long to wait for the lock. A verb holds it for less than a millisecond.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// The longest file that is read, in bytes: a container ID and the name of an interface.
const LONGEST: usize = 4 * KIB;

/// The reservations of one network, locked.
pub(crate) struct Store {
    dir: PathBuf,
    index: Index,
    notes: Notes,
    /// None on a file system that is read-only.
    _lock: Option<File>,
}

impl Store {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// When the folder can't be made, or another process keeps the lock.
    pub(crate) fn create(dir: &Path) -> Result<Self, CniError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .context(|| format!("create {}", dir.display()))?;
        Self::lock(dir)
    }

    /// Locks a folder that is there already. `None` when it isn't, so that there is nothing reserved.
    ///
    /// # Errors
    /// When another process keeps the lock.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, CniError> {
        if !dir.is_dir() {
            return Ok(None);
        }
        Self::lock(dir).map(Some)
    }

    fn lock(dir: &Path) -> Result<Self, CniError> {
        let path = dir.join("lock");
        let lock = match lock::exclusive(&path, LOCK_DEADLINE) {
            // On a file system that is read-only there is nothing that two could do at once.
            Err(_) if is_read_only(dir) && !path.exists() => None,
            lock => Some(lock?),
        };
        let store = Self {
            _lock: lock,
            dir: dir.to_owned(),
            index: Index::of(dir),
            notes: Notes::of(dir),
        };
        if let Some(boot) = boot::start_of_new_boot(dir) {
            store.release_older(boot)?;
        }
        boot::record_boot(dir);
        Ok(store)
    }

    /// Releases what was reserved before `boot`. A file of unknown age stays.
    fn release_older(&self, boot: SystemTime) -> Result<(), CniError> {
        let is_old = |addr: &IpAddr| {
            let file = fs::metadata(self.dir.join(addr.to_string()));
            file.and_then(|file| file.modified())
                .is_ok_and(|written| written < boot)
        };
        for addr in self.reserved()?.into_iter().filter(is_old) {
            self.remove(addr)?;
        }
        self.scan(&self.reserved()?).map(|_| ())
    }

    /// The addresses that have a file, by names alone.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn reserved(&self) -> Result<BTreeSet<IpAddr>, CniError> {
        let list = || format!("list {}", self.dir.display());
        let mut addrs = BTreeSet::new();
        for entry in fs::read_dir(&self.dir).context(list)? {
            let entry = entry.context(list)?;
            addrs.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<IpAddr>().ok()),
            );
        }
        Ok(addrs)
    }

    /// The addresses of one holder, `reserved` being all that have a file.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn held_by(
        &self,
        holder: &Holder,
        reserved: &BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, CniError> {
        let listing = self.index.read(holder);
        let is_theirs = |addr: &IpAddr| self.holder(*addr).as_ref() == Some(holder);
        if listing.addrs == *reserved && listing.of_holder.iter().all(is_theirs) {
            return Ok(listing.of_holder);
        }
        Ok(self.scan(reserved)?.remove(holder).unwrap_or_default())
    }

    /// The cursor of a range set. One that can't be read is none.
    pub(crate) fn cursor(&self, set: usize) -> Option<IpAddr> {
        let path = self.dir.join(format!("last_reserved_ip.{set}"));
        let text = bounded_file::read_text(&path, Links::Refused, LONGEST).ok()?;
        text.trim().parse().ok()
    }

    /// Reserves an address that is known to be free, and moves the cursor of its set there. `netns` is where it is for.
    ///
    /// # Errors
    /// When a file can't be written; the address is then not reserved.
    pub(crate) fn reserve(
        &self,
        addr: IpAddr,
        holder: &Holder,
        netns: Option<&Path>,
        set: usize,
    ) -> Result<(), CniError> {
        self.notes.add(holder, addr, netns);
        let path = self.dir.join(addr.to_string());
        let what = || format!("reserve {}", path.display());
        // One name suffices for the unfinished file, since there is one lock.
        let unfinished = self.dir.join(".unfinished");
        file::replace(&path, &unfinished, &holder.render(), OnDisk::Nothing).context(what)?;
        self.index.add(holder, addr);
        let cursor = self.dir.join(format!("last_reserved_ip.{set}"));
        file::overwrite(&cursor, &addr.to_string())
            .context(|| format!("write {}", cursor.display()))
    }

    /// Releases all addresses of an attachment, and answers which.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn release(&self, holder: &Holder) -> Result<Vec<IpAddr>, CniError> {
        let reserved = self.reserved()?;
        let mut held = self.held_by(holder, &reserved)?;
        let mut holder = holder.clone();
        if held.is_empty() {
            holder = holder.without_ifname();
            held = self.held_by(&holder, &reserved)?;
        }
        for addr in &held {
            self.remove(*addr)?;
            self.index.remove(&holder, *addr);
        }
        Ok(held)
    }

    /// Releases addresses that are not valid, and what a crash has left.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn retain(
        &self,
        is_valid: impl Fn(&Holder, IpAddr) -> bool,
    ) -> Result<(), CniError> {
        for (holder, addrs) in &self.scan(&self.reserved()?)? {
            for addr in addrs.iter().filter(|addr| !is_valid(holder, **addr)) {
                self.remove(*addr)?;
                self.index.remove(holder, *addr);
            }
        }
        Ok(())
    }

    /// The holder of one address. `None` when there is no file, or one that a crash has left.
    pub(crate) fn holder(&self, addr: IpAddr) -> Option<Holder> {
        self.read(addr).ok().flatten()
    }

    /// The same, with errors. What is no regular file has no holder.
    fn read(&self, addr: IpAddr) -> io::Result<Option<Holder>> {
        let path = self.dir.join(addr.to_string());
        match bounded_file::read(&path, Links::Refused, LONGEST) {
            Ok(bytes) => Ok(Holder::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::FileTooLarge => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Whether the container that an address is reserved for is gone without a DEL.
    pub(crate) fn is_orphan(&self, network: &str, holder: &Holder, addr: IpAddr) -> bool {
        self.notes.is_gone(network, holder, addr)
    }

    /// The addresses of containers that are gone.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn orphans(&self, network: &str) -> Result<BTreeSet<IpAddr>, CniError> {
        let mut addrs = self.reserved()?;
        addrs.retain(|addr| {
            let holder = self.holder(*addr);
            holder.is_some_and(|holder| self.is_orphan(network, &holder, *addr))
        });
        Ok(addrs)
    }

    /// Removes files that no container can own, and those of containers that are gone, and answers what remains.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn reclaim(&self, network: &str) -> Result<BTreeSet<IpAddr>, CniError> {
        self.retain(|holder, addr| !self.is_orphan(network, holder, addr))?;
        self.reserved()
    }

    /// Reads every reservation, removes those that a crash has left, and rebuilds the index. A file that can't be read
    /// now may be a container's, and stays.
    fn scan(&self, reserved: &BTreeSet<IpAddr>) -> Result<BTreeMap<Holder, Vec<IpAddr>>, CniError> {
        let mut by_holder: BTreeMap<Holder, Vec<IpAddr>> = BTreeMap::new();
        for addr in reserved {
            match self.read(*addr) {
                Ok(Some(holder)) => by_holder.entry(holder).or_default().push(*addr),
                Ok(None) => self.remove(*addr)?,
                Err(_) => {}
            }
        }
        self.index.rebuild(&by_holder);
        self.notes.keep(reserved);
        Ok(by_holder)
    }

    fn remove(&self, addr: IpAddr) -> Result<(), CniError> {
        self.notes.remove(addr);
        file::remove(&self.dir.join(addr.to_string()))
    }
}

fn is_read_only(dir: &Path) -> bool {
    nix::sys::statvfs::statvfs(dir).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY))
}
