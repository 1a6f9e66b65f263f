//! The folder itself: blocking reads and writes under a lock. A file is always whole: it is written beside its place,
//! synced, and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tweed_host::bounded_file::{self, KIB, Links, MIB};
use tweed_host::file_lock::{self, Sharing};
use tweed_host::whole_file::{OnDisk, Replacement};
use tweed_model::lease::Term;
use tweed_model::wire::{self, WireError};
use tweed_model::{ClusterSnapshot, Lease, LeaseAttrs, SubnetKey, shown};

use crate::{MOST_ENTRIES, StoreError};

/// Where the configuration stands, best first. The second name is that of flannel's file.
const CONFIG_NAMES: [&str; 2] = ["config", "net-conf.json"];
const SUBNETS: &str = "subnets";
pub(super) const LOCK: &str = "lock";
/// The one file that may be half written. The holder of the lock may overwrite it.
const UNFINISHED: &str = ".unfinished";
const SUFFIX: &str = ".json";
/// Writes take milliseconds. A process that holds the lock longer is stuck.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// More than any configuration needs.
const CONFIG_LIMIT: usize = MIB;
/// A lease has some 300 bytes.
const LEASE_LIMIT: usize = 64 * KIB;
/// What all leases together may have.
const LEASES_LIMIT: usize = 64 * MIB;

/// A folder with a configuration and a file for each lease.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Everything in the folder at one moment.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) config: Option<String>,
    pub(super) leases: BTreeMap<SubnetKey, Lease>,
    /// The texts of the leases, as they stand.
    pub(super) texts: BTreeMap<SubnetKey, Vec<u8>>,
    /// Subnets whose file can't be read.
    pub(super) unreadable: Vec<SubnetKey>,
    pub(super) broken: BTreeMap<String, String>,
}

/// The folder, while nobody else writes to it.
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    _lock: File,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn subnets(&self) -> PathBuf {
        self.path.join(SUBNETS)
    }

    fn lease_file(&self, key: &SubnetKey) -> PathBuf {
        self.subnets().join(format!("{key}{SUFFIX}"))
    }

    /// Where the configuration stands, or should.
    pub(super) fn config_file(&self) -> PathBuf {
        let mut files = CONFIG_NAMES.map(|name| self.path.join(name)).into_iter();
        files
            .find(|file| file.exists())
            .unwrap_or_else(|| self.path.join(CONFIG_NAMES[0]))
    }

    pub(super) fn config(&self) -> Result<Option<String>, StoreError> {
        let file = self.config_file();
        let read = bounded_file::read(&file, Links::Refused, CONFIG_LIMIT);
        let text = optional(read).map_err(|error| failed("read", &file, &error))?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Everything, with no write going on. A folder that isn't there is empty.
    pub(super) fn read(&self) -> Result<Content, StoreError> {
        let path = self.path.join(LOCK);
        // Without a lock file nobody has written yet. A reader needs no permission to write, but is the writers' user or
        // root: a lock that others can open is one that they can hold.
        let lock = optional(bounded_file::open(&path, Links::Refused));
        let lock = lock.map_err(|error| failed("open", &path, &error))?;
        if let Some(lock) = &lock {
            acquire_lock(&path, lock, Sharing::Shared)?;
        }
        self.read_locked()
    }

    /// Locks the folder for writing; makes it where it is missing.
    pub(super) fn lock(&self) -> Result<Locked<'_>, StoreError> {
        let subnets = self.subnets();
        fs::create_dir_all(&subnets).map_err(|error| failed("make", &subnets, &error))?;
        let path = self.path.join(LOCK);
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let opened = bounded_file::open_with(&mut options, &path, Links::Refused);
        let lock = opened.map_err(|error| failed("open", &path, &error))?;
        close_to_others(&lock).map_err(|error| failed("close to others", &path, &error))?;
        acquire_lock(&path, &lock, Sharing::Exclusive)?;
        Ok(Locked {
            folder: self,
            _lock: lock,
        })
    }

    fn read_locked(&self) -> Result<Content, StoreError> {
        let mut content = Content {
            config: self.config()?,
            ..Content::default()
        };
        let subnets = self.subnets();
        let failed = |error: io::Error| failed("read", &subnets, &error);
        let Some(files) = optional(fs::read_dir(&subnets)).map_err(failed)? else {
            return Ok(content);
        };
        let too_much =
            |what: String| StoreError::Unavailable(format!("{}: {what}", subnets.display()));
        let mut bytes = 0;
        for (number, file) in files.enumerate() {
            if number == MOST_ENTRIES {
                return Err(too_much(format!("more than {MOST_ENTRIES} files")));
            }
            let file = file.map_err(failed)?;
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                bytes += content.add(&name, &file.path());
            }
            if bytes > LEASES_LIMIT {
                let limit = LEASES_LIMIT / MIB;
                return Err(too_much(format!(
                    "leases of more than {limit} MiB together"
                )));
            }
        }
        Ok(content)
    }
}

impl Content {
    /// Adds what stands in a file, and says how many bytes of it are kept.
    fn add(&mut self, name: &str, path: &Path) -> usize {
        let parsed = match name.strip_suffix(SUFFIX) {
            Some(stem) => stem.parse::<SubnetKey>(),
            None => Err(WireError::Key(name.to_owned())),
        };
        let subnet = match &parsed {
            Ok(key) | Err(WireError::NotCanonical { want: key, .. }) => Some(*key),
            Err(_) => None,
        };
        let read = parsed
            .map_err(|error| error.to_string())
            .and_then(|key| read_lease(key, path));
        match read {
            Ok((lease, text)) => {
                let bytes = text.len();
                self.texts.insert(lease.key, text);
                self.leases.insert(lease.key, lease);
                bytes
            }
            Err(reason) => {
                self.unreadable.extend(subnet);
                self.broken
                    .insert(shown(name).into_owned(), shown(&reason).into_owned());
                0
            }
        }
    }

    pub(super) fn leases(&self) -> Vec<&Lease> {
        self.leases.values().collect()
    }

    pub(super) fn into_snapshot(self, listings: u64) -> ClusterSnapshot {
        ClusterSnapshot {
            leases: self
                .leases
                .into_iter()
                .map(|(key, lease)| (key, lease.into()))
                .collect(),
            broken: self.broken,
            in_sync: true,
            listings,
            config: self.config,
        }
    }
}

impl Locked<'_> {
    pub(super) fn read(&self) -> Result<Content, StoreError> {
        self.folder.read_locked()
    }

    /// Writes a lease, and answers its order of creation. A text that is replaced leaves that to its successor.
    pub(super) fn write(&self, key: &SubnetKey, text: &str) -> Result<u64, StoreError> {
        let file = self.folder.lease_file(key);
        let created = fs::metadata(&file).and_then(|old| old.modified()).ok();
        self.replace(&file, text, created.unwrap_or_else(SystemTime::now))
    }

    pub(super) fn write_config(&self, text: &str) -> Result<(), StoreError> {
        self.replace(&self.folder.config_file(), text, SystemTime::now())
            .map(drop)
    }

    /// Removes a lease. False if there is none.
    pub(super) fn remove(&self, key: &SubnetKey) -> Result<bool, StoreError> {
        let file = self.folder.lease_file(key);
        let removed =
            optional(fs::remove_file(&file)).map_err(|error| failed("remove", &file, &error))?;
        Ok(removed.is_some())
    }

    fn replace(&self, file: &Path, text: &str, modified: SystemTime) -> Result<u64, StoreError> {
        let folder = file.parent().unwrap_or(&self.folder.path);
        let replacement = Replacement {
            unfinished: &folder.join(UNFINISHED),
            mode: None,
            modified: Some(modified),
            on_disk: OnDisk::Name,
        };
        let written = replacement.write(file, text.as_bytes());
        written.map_err(|error| failed("write", file, &error))?;
        Ok(order(modified))
    }
}

fn read_lease(key: SubnetKey, path: &Path) -> Result<(Lease, Vec<u8>), String> {
    let read = || {
        let file = bounded_file::open(path, Links::Refused)?;
        let modified = file.metadata()?.modified()?;
        Ok::<_, io::Error>((bounded_file::read_stream(file, LEASE_LIMIT)?, modified))
    };
    let (text, modified) = read().map_err(|error| error.to_string())?;
    let attrs = wire::parse_attrs(&text).map_err(|error| error.to_string())?;
    let term = term(&attrs);
    let lease = Lease {
        key,
        attrs,
        node: None,
        created: order(modified),
        term,
    };
    Ok((lease, text))
}

/// Nothing in a folder ever runs out. A file with nothing but an address is what somebody wrote to reserve a subnet.
fn term(attrs: &LeaseAttrs) -> Term {
    if attrs.backend_type.is_empty() && attrs.data.is_empty() {
        Term::Reserved
    } else {
        Term::Leased
    }
}

/// The time of creation, in nanoseconds. Writers take turns, and a file that is replaced keeps its time.
fn order(modified: SystemTime) -> u64 {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Earlier versions made the lock for all to open. Only its owner and root can change that; others leave it as it is.
fn close_to_others(lock: &File) -> io::Result<()> {
    if lock.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    match lock.set_permissions(Permissions::from_mode(0o600)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn acquire_lock(path: &Path, lock: &File, sharing: Sharing) -> Result<(), StoreError> {
    file_lock::acquire(lock, sharing, LOCK_TIMEOUT).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => StoreError::Unavailable(format!(
            "lock {}: another process has held it for {} s; see who with: fuser -v {0}",
            path.display(),
            LOCK_TIMEOUT.as_secs()
        )),
        _ => failed("lock", path, &error),
    })
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{verb} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            StoreError::Refused(text)
        }
        _ => StoreError::Unavailable(text),
    }
}
