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
use tweed_overlay::bounded_file::{self, KIB, Links};
use tweed_overlay::whole_file::OnDisk;

use super::boot;
use super::index::Index;
use super::notes::Notes;
use crate::spec::call::is_identifier;
use crate::spec::{Attachment, CniError, Context};
use crate::state::file;
use crate::state::lock;

/// How long to wait for the lock. A verb holds it for less than a millisecond.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// The longest file that is read, in bytes: a container ID and the name of an interface.
const LONGEST: usize = 4 * KIB;

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// The container.
    pub(crate) container_id: String,
    /// The interface; plugins of long ago did not write it.
    pub(crate) ifname: Option<String>,
}

/// The reservations of one network, locked.
pub(crate) struct Store {
    dir: PathBuf,
    index: Index,
    notes: Notes,
    /// None where nobody can write.
    _lock: Option<File>,
}

impl Owner {
    /// Reads a reservation file. Text that is not a container's is nobody's: a file left by a crash.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.trim().lines();
        let container_id = lines.next()?.trim();
        let ifname = lines.next().map(|line| line.trim().to_owned());
        is_identifier(container_id).then(|| Self {
            container_id: container_id.to_owned(),
            ifname,
        })
    }

    fn render(&self) -> String {
        match &self.ifname {
            Some(ifname) => format!("{}\r\n{ifname}", self.container_id),
            None => self.container_id.clone(),
        }
    }

    /// The same as an old plugin would have written it.
    fn without_ifname(&self) -> Self {
        Self {
            container_id: self.container_id.clone(),
            ifname: None,
        }
    }
}

impl From<&Attachment> for Owner {
    fn from(attachment: &Attachment) -> Self {
        Self {
            container_id: attachment.container_id.clone(),
            ifname: Some(attachment.ifname.clone()),
        }
    }
}

impl Store {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// When the folder can't be made or the lock not be had.
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
    /// When the lock can't be had.
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
        if let Some(boot) = boot::start_of_a_new_one(dir) {
            store.release_older(boot)?;
        }
        boot::take_note(dir);
        Ok(store)
    }

    /// Releases what was reserved before `boot`. A file whose age can't be told stays.
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

    /// The addresses of one owner, `reserved` being all that have a file.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn held_by(
        &self,
        owner: &Owner,
        reserved: &BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, CniError> {
        let listing = self.index.read(owner);
        let is_theirs = |addr: &IpAddr| self.holder(*addr).as_ref() == Some(owner);
        if listing.addrs == *reserved && listing.of_owner.iter().all(is_theirs) {
            return Ok(listing.of_owner);
        }
        Ok(self.scan(reserved)?.remove(owner).unwrap_or_default())
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
        owner: &Owner,
        netns: Option<&Path>,
        set: usize,
    ) -> Result<(), CniError> {
        self.notes.add(owner, addr, netns);
        let path = self.dir.join(addr.to_string());
        let what = || format!("reserve {}", path.display());
        // One name suffices for the unfinished file, since there is one lock.
        let unfinished = self.dir.join(".unfinished");
        file::replace(&path, &unfinished, &owner.render(), OnDisk::Nothing).context(what)?;
        self.index.add(owner, addr);
        let cursor = self.dir.join(format!("last_reserved_ip.{set}"));
        file::overwrite(&cursor, &addr.to_string())
            .context(|| format!("write {}", cursor.display()))
    }

    /// Releases all addresses of an attachment, and answers which.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>, CniError> {
        let reserved = self.reserved()?;
        let mut held = self.held_by(owner, &reserved)?;
        let mut owner = owner.clone();
        if held.is_empty() {
            owner = owner.without_ifname();
            held = self.held_by(&owner, &reserved)?;
        }
        for addr in &held {
            self.remove(*addr)?;
            self.index.remove(&owner, *addr);
        }
        Ok(held)
    }

    /// Releases what belongs to nobody that `is_valid`, and what a crash has left.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn retain(&self, is_valid: impl Fn(&Owner, IpAddr) -> bool) -> Result<(), CniError> {
        for (owner, addrs) in &self.scan(&self.reserved()?)? {
            for addr in addrs.iter().filter(|addr| !is_valid(owner, **addr)) {
                self.remove(*addr)?;
                self.index.remove(owner, *addr);
            }
        }
        Ok(())
    }

    /// The holder of one address. `None` when there is no file, or one that a crash has left.
    pub(crate) fn holder(&self, addr: IpAddr) -> Option<Owner> {
        self.read(addr).ok().flatten()
    }

    /// The same. What stands in the place of a file of a container's and is none belongs to nobody, too.
    fn read(&self, addr: IpAddr) -> io::Result<Option<Owner>> {
        let path = self.dir.join(addr.to_string());
        match bounded_file::read(&path, Links::Refused, LONGEST) {
            Ok(bytes) => Ok(Owner::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::FileTooLarge => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Whether the container that an address is reserved for is gone, and nobody has told us.
    pub(crate) fn is_orphan(&self, network: &str, owner: &Owner, addr: IpAddr) -> bool {
        self.notes.is_gone(network, owner, addr)
    }

    /// The addresses of containers that are gone.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn orphans(&self, network: &str) -> Result<BTreeSet<IpAddr>, CniError> {
        let mut addrs = self.reserved()?;
        addrs.retain(|addr| {
            let holder = self.holder(*addr);
            holder.is_some_and(|owner| self.is_orphan(network, &owner, *addr))
        });
        Ok(addrs)
    }

    /// Removes files that no container can own, and those of containers that are gone, and answers what remains.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn reclaim(&self, network: &str) -> Result<BTreeSet<IpAddr>, CniError> {
        self.retain(|owner, addr| !self.is_orphan(network, owner, addr))?;
        self.reserved()
    }

    /// Reads every reservation, removes those that a crash has left, and rebuilds the index. A file that can't be read
    /// now may be a container's, and stays.
    fn scan(&self, reserved: &BTreeSet<IpAddr>) -> Result<BTreeMap<Owner, Vec<IpAddr>>, CniError> {
        let mut by_owner: BTreeMap<Owner, Vec<IpAddr>> = BTreeMap::new();
        for addr in reserved {
            match self.read(*addr) {
                Ok(Some(owner)) => by_owner.entry(owner).or_default().push(*addr),
                Ok(None) => self.remove(*addr)?,
                Err(_) => {}
            }
        }
        self.index.rebuild(&by_owner);
        self.notes.keep(reserved);
        Ok(by_owner)
    }

    fn remove(&self, addr: IpAddr) -> Result<(), CniError> {
        self.notes.remove(addr);
        file::remove(&self.dir.join(addr.to_string()))
    }
}

fn is_read_only(dir: &Path) -> bool {
    nix::sys::statvfs::statvfs(dir).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY))
}
