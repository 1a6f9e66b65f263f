//! Reservations on disk, in the layout of Go's `host-local`, so that either plugin can serve the other's containers:
//! a file `<address>` holds `<container ID>\r\n<interface>`, `last_reserved_ip.<set>` the cursor, `lock` is flock'ed.
//!
//! Everything happens under one lock for the whole verb. A file gets its name only when its content is complete, by
//! rename, so that a killed plugin leaves no empty file. Nothing is synced to the disk: a reservation that a power cut
//! takes along belonged to a container that the power cut took along too.

use std::cell::{RefCell, RefMut};
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
use super::index::{self, Index, Listing, tag};
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
    /// What is reserved, once it is known.
    listing: RefCell<Option<Listing>>,
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
            listing: RefCell::new(None),
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
        self.scan().map(|_| ())
    }

    /// The addresses that have a file.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn reserved(&self) -> Result<BTreeSet<IpAddr>, CniError> {
        Ok(self.listing()?.keys().copied().collect())
    }

    fn listing(&self) -> Result<RefMut<'_, Listing>, CniError> {
        if self.listing.borrow().is_none() {
            match self.index.read() {
                Some(listing) => *self.listing.borrow_mut() = Some(listing),
                None => drop(self.scan()?),
            }
        }
        Ok(RefMut::map(self.listing.borrow_mut(), |listing| {
            listing.get_or_insert_default()
        }))
    }

    /// Whether an address has a file that the listing does not know of: another program has been here.
    pub(crate) fn is_taken(&self, addr: IpAddr) -> bool {
        self.dir.join(addr.to_string()).symlink_metadata().is_ok()
    }

    /// The addresses that have a file, by names alone.
    fn names(&self) -> Result<BTreeSet<IpAddr>, CniError> {
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

    /// Everybody that has an address.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn holders(&self) -> Result<Vec<Holder>, CniError> {
        Ok(self.scan()?.into_keys().collect())
    }

    /// The addresses of one holder.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn held_by(&self, holder: &Holder) -> Result<Vec<IpAddr>, CniError> {
        let own = tag(holder);
        let held: Vec<IpAddr> = {
            let listing = self.listing()?;
            let held = listing.iter().filter(|(_, tag)| **tag == own);
            held.map(|(addr, _)| *addr).collect()
        };
        let is_theirs = |addr: &IpAddr| self.holder(*addr).as_ref() == Some(holder);
        if held.iter().all(is_theirs) {
            return Ok(held);
        }
        Ok(self.scan()?.remove(holder).unwrap_or_default())
    }

    /// The cursor of a range set. One that can't be read is none.
    pub(crate) fn cursor(&self, set: usize) -> Option<IpAddr> {
        let text = index::cursor(&self.dir, set)?;
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
        file::replace(&path, &self.unfinished(), &holder.render(), OnDisk::Nothing)
            .inspect_err(|_| self.notes.remove(addr))
            .context(what)?;
        let cursor = self.dir.join(format!("last_reserved_ip.{set}"));
        file::overwrite(&cursor, &addr.to_string())
            .context(|| format!("write {}", cursor.display()))?;
        self.listing()?.insert(addr, tag(holder));
        self.save()
    }

    /// Releases all addresses of an attachment, and answers which.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn release(&self, holder: &Holder) -> Result<Vec<IpAddr>, CniError> {
        self.forget_unfinished();
        let mut held = self.held_by(holder)?;
        if held.is_empty() {
            held = self.held_by(&holder.without_ifname())?;
        }
        for addr in &held {
            self.remove(*addr)?;
        }
        if !held.is_empty() {
            self.save()?;
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
        self.forget_unfinished();
        for (holder, addrs) in &self.scan()? {
            for addr in addrs.iter().filter(|addr| !is_valid(holder, **addr)) {
                self.remove(*addr)?;
            }
        }
        self.save()
    }

    /// A reservation until it is whole. One name suffices, since there is one lock.
    fn unfinished(&self) -> PathBuf {
        self.dir.join(".unfinished")
    }

    /// Removes what a killed process has left of a reservation.
    fn forget_unfinished(&self) {
        let _ = fs::remove_file(self.unfinished());
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
    fn scan(&self) -> Result<BTreeMap<Holder, Vec<IpAddr>>, CniError> {
        let reserved = self.names()?;
        let mut by_holder: BTreeMap<Holder, Vec<IpAddr>> = BTreeMap::new();
        let mut listing = Listing::new();
        for addr in &reserved {
            match self.read(*addr) {
                Ok(Some(holder)) => {
                    listing.insert(*addr, tag(&holder));
                    by_holder.entry(holder).or_default().push(*addr);
                }
                Ok(None) => self.remove(*addr)?,
                Err(_) => drop(listing.insert(*addr, 0)),
            }
        }
        self.notes.keep(&reserved);
        // An earlier version's index.
        let _ = fs::remove_dir_all(self.dir.join(".by-id"));
        self.index.write(&listing);
        *self.listing.borrow_mut() = Some(listing);
        Ok(by_holder)
    }

    fn remove(&self, addr: IpAddr) -> Result<(), CniError> {
        self.notes.remove(addr);
        file::remove(&self.dir.join(addr.to_string()))?;
        if let Some(listing) = self.listing.borrow_mut().as_mut() {
            listing.remove(&addr);
        }
        Ok(())
    }

    /// Writes the index down, after the last change.
    fn save(&self) -> Result<(), CniError> {
        self.index.write(&*self.listing()?);
        Ok(())
    }
}

fn is_read_only(dir: &Path) -> bool {
    nix::sys::statvfs::statvfs(dir).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY))
}
