//! All records of attachments on this host: those of our plugins, and those that the runtime's library keeps of other
//! plugins. A folder is read again when it has changed; each file is read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use ipnet::IpNet;
use serde_json::Value;
use tweed_host::bounded_file::{self, MIB};
use tweed_model::{Bridged, Routed};
use tweed_netlink::netns::Netns;

use crate::libcni::{self, CachedAttachment};
use crate::record::{ELSEWHERE, ENDING, FolderPointer, LOOPBACK_OPEN};
use crate::{ForwardRecord, Owner, PortRecord, Publication, Record};

/// The folder in which runtimes and plugins keep their state.
pub const CNI_DATA_DIR: &str = "/var/lib/cni";

/// A folder that changed a moment ago may change again and keep its time of change: the kernel's clock for it ticks
/// every 4 ms, and a file may not be written to its end.
const YOUNG: Duration = Duration::from_millis(100);

/// An attachment, from all its records together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Owner of its elements in the packet filter.
    pub owner: Owner,
    /// Where the container's network namespace was; empty where that isn't known.
    pub netns: String,
    /// Its place in a bridge.
    pub bridged: Option<Bridged>,
    /// What leads to it where it is in none.
    pub routed: Option<Routed>,
    /// Addresses of an attachment of other plugins: it is ours to look after if they are within our networks.
    pub others: Option<Vec<IpNet>>,
    /// Addresses that are masqueraded.
    pub masquerade: Vec<IpNet>,
    /// Its host ports.
    pub publication: Option<Publication>,
    /// What the host forwards for it.
    pub forwarded: Option<ForwardRecord>,
    /// When the last of its records was written.
    pub written: SystemTime,
    /// Records of our plugins.
    pub files: Vec<PathBuf>,
}

/// The contents of all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Attachments by their owner.
    pub attachments: BTreeMap<Owner, Attachment>,
    /// Whether packets to 127.0.0.0/8 may come in: then the table's rule against them is wanted even without records.
    pub loopback_open: bool,
    /// Folders that a plugin has pointed to, and why they can't be read.
    pub out_of_reach: BTreeMap<PathBuf, String>,
}

/// Reads the records, and caches them.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    data: PathBuf,
    folders: BTreeMap<PathBuf, Listing>,
    recorded: Arc<Recorded>,
}

/// A folder as it was read.
#[derive(Debug, Default)]
struct Listing {
    /// When it was last changed, unless it may have changed since.
    changed: Option<SystemTime>,
    files: BTreeMap<PathBuf, (Stamp, Option<Content>)>,
    error: Option<String>,
}

type Stamp = (SystemTime, u64);

/// A file, read.
#[derive(Clone, Debug)]
enum Content {
    Own(Record),
    Ports(PortRecord),
    Forwarded(ForwardRecord),
    Others(CachedAttachment),
    Pointer(FolderPointer),
    LoopbackOpen,
}

impl Records {
    /// The plugins' records in this folder, and the runtime's and flannel's below the other. Neither need exist.
    pub fn new(folder: &Path, data: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            data: data.to_owned(),
            folders: BTreeMap::new(),
            recorded: Arc::default(),
        }
    }

    /// The records as they are now. Without a change this costs one `stat` of each folder.
    pub fn read(&mut self) -> Arc<Recorded> {
        let words = self.folder.join(ELSEWHERE);
        let mut changed = self.look(&words, Content::word);
        let others = self.elsewhere(&words);
        for folder in [&self.folder.clone()].into_iter().chain(&others) {
            changed |= self.look(folder, Content::own);
        }
        let delegates = self.data.join("flannel");
        changed |= self.look(&self.data.join("results"), |path, text| {
            let name = path.file_name()?.to_str()?;
            name.starts_with(|first: char| first != '.')
                .then(|| libcni::parse(text, |container| saved(&delegates, container)))?
                .map(Content::Others)
        });
        let known = self.folders.len();
        let stay: BTreeSet<PathBuf> = [self.folder.clone(), words, self.data.join("results")]
            .into_iter()
            .chain(others.iter().cloned())
            .collect();
        self.folders.retain(|folder, _| stay.contains(folder));
        if changed || self.folders.len() != known {
            self.recorded = Arc::new(self.gather(&others));
        }
        Arc::clone(&self.recorded)
    }

    /// Reads a folder unless it is unchanged. Returns whether it may have changed.
    fn look(&mut self, folder: &Path, parse: impl Fn(&Path, &str) -> Option<Content>) -> bool {
        let listing = self.folders.entry(folder.to_owned()).or_default();
        let now = fs::metadata(folder).and_then(|meta| meta.modified());
        if let (Ok(now), Some(before)) = (&now, listing.changed)
            && *now == before
        {
            return false;
        }
        let absent = now.is_err() && listing.files.is_empty();
        let error = match list(folder) {
            Ok(files) => {
                let mut before = std::mem::take(&mut listing.files);
                for (path, stamp) in files {
                    let known = before.remove(&path).filter(|(then, _)| *then == stamp);
                    let read = || {
                        let text = bounded_file::read_trusted(&path, MIB).ok();
                        (stamp, text.and_then(|text| parse(&path, &text)))
                    };
                    let entry = known.unwrap_or_else(read);
                    listing.files.insert(path, entry);
                }
                None
            }
            Err(error) => {
                listing.files.clear();
                Some(error.to_string())
            }
        };
        let same_error = listing.error == error;
        listing.error = error;
        listing.changed = now.ok().filter(|now| is_old(*now));
        !(absent && same_error)
    }

    /// The folders that plugins in this network namespace have pointed to.
    fn elsewhere(&self, words: &Path) -> BTreeSet<PathBuf> {
        let files = self.folders.get(words).map(|listing| &listing.files);
        let mut files = files.into_iter().flatten().peekable();
        if files.peek().is_none() {
            return BTreeSet::new();
        }
        let own = Netns::id_of_caller().ok();
        files
            .filter_map(|(_, (_, content))| match content {
                Some(Content::Pointer(to)) if Some(to.netns) == own => Some(to.folder.clone()),
                _ => None,
            })
            .collect()
    }

    fn gather(&self, others: &BTreeSet<PathBuf>) -> Recorded {
        let mut recorded = Recorded::default();
        for (folder, listing) in &self.folders {
            if let Some(error) = listing.error.as_ref().filter(|_| others.contains(folder)) {
                recorded.out_of_reach.insert(folder.clone(), error.clone());
            }
            for (path, ((written, _), content)) in &listing.files {
                if let Some(content) = content {
                    recorded.add(path, *written, content);
                }
            }
        }
        let attachments = recorded.attachments.values_mut();
        attachments.for_each(Attachment::complete);
        recorded
    }
}

impl Recorded {
    fn add(&mut self, path: &Path, written: SystemTime, content: &Content) {
        match content {
            Content::Pointer(_) => {}
            Content::LoopbackOpen => self.loopback_open = true,
            Content::Own(record) => {
                let of = self.of(record.owner(), written, Some(path));
                of.masquerade.clone_from(&record.masquerade);
                if let Some(bridged) = &record.bridged {
                    of.bridged = Some(bridged.clone());
                    of.others = None;
                }
                of.routed.clone_from(&record.routed);
                of.knows_netns(&record.netns);
            }
            Content::Ports(record) => {
                let of = self.of(record.owner(), written, Some(path));
                of.publication = Some(record.publication.clone());
                of.knows_netns(&record.netns);
            }
            Content::Forwarded(record) => {
                let of = self.of(record.owner(), written, Some(path));
                of.forwarded = Some(record.clone());
                of.knows_netns(&record.netns);
            }
            Content::Others(kept) => {
                let owner = Owner::new(&kept.network, &kept.container_id, &kept.ifname);
                let of = self.of(owner, written, None);
                if of.bridged.is_none() && of.routed.is_none() {
                    of.bridged = Some(kept.bridged.clone());
                    of.others = Some(kept.addresses.clone());
                }
                of.knows_netns(&kept.netns);
            }
        }
    }

    fn of(&mut self, owner: Owner, written: SystemTime, file: Option<&Path>) -> &mut Attachment {
        let of = self.attachments.entry(owner.clone());
        let of = of.or_insert_with(|| Attachment {
            owner,
            netns: String::new(),
            bridged: None,
            routed: None,
            others: None,
            masquerade: Vec::new(),
            publication: None,
            forwarded: None,
            written,
            files: Vec::new(),
        });
        of.written = of.written.max(written);
        of.files.extend(file.map(Path::to_owned));
        of
    }
}

impl Attachment {
    /// A version before wrote host ports down without the host's address.
    fn complete(&mut self) {
        let (Some(publication), Some(bridged)) = (&mut self.publication, &self.bridged) else {
            return;
        };
        if publication.host_address.is_none() && publication.loopback_target().is_some() {
            publication.host_address = bridged.gateways.iter().find_map(|net| match net {
                IpNet::V4(net) => Some(net.addr()),
                IpNet::V6(_) => None,
            });
        }
    }

    fn knows_netns(&mut self, netns: &str) {
        if self.netns.is_empty() {
            netns.clone_into(&mut self.netns);
        }
    }
}

impl Content {
    fn word(_: &Path, text: &str) -> Option<Self> {
        FolderPointer::parse(text).map(Self::Pointer)
    }

    fn own(path: &Path, text: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name == LOOPBACK_OPEN {
            return Some(Self::LoopbackOpen);
        }
        if !name.ends_with(ENDING) {
            return None;
        }
        let own = Record::parse(text).map(Self::Own);
        own.or_else(|| PortRecord::parse(text).map(Self::Ports))
            .or_else(|| ForwardRecord::parse(text).map(Self::Forwarded))
    }
}

fn list(folder: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let entries = fs::read_dir(folder)?.flatten();
    let files = entries.filter_map(|entry| {
        let meta = entry.metadata().ok().filter(|meta| meta.is_file())?;
        Some((entry.path(), (meta.modified().ok()?, meta.len())))
    });
    Ok(files.collect())
}

fn is_old(changed: SystemTime) -> bool {
    let age = SystemTime::now().duration_since(changed);
    age.is_ok_and(|age| age > YOUNG)
}

/// The configuration that flannel's plugin, or ours in its place, gave to its delegate.
fn saved(delegates: &Path, container: &str) -> Option<Value> {
    if container.contains('/') || container.starts_with('.') {
        return None;
    }
    let text = bounded_file::read_trusted(&delegates.join(container), MIB).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests;
