//! Puts the plugins' table back when another program has flushed it: the agent is there all the time, the plugins are
//! not. What belongs into the table stands in the plugins' records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tweed_host::KernelError;
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_netlink::Netfilter;
use tweed_netlink::netns::Netns;
use tweed_nft::Element;
use tweed_nft::live::read::{self, TableReading};

use super::attachment::{masquerade, mend, put_base};
use super::hostport::{PublishError, publish};
use crate::record::{ELSEWHERE, Elsewhere, LOOPBACK_OPEN};
use crate::{CNI_TABLE, Owner, PortRecord, Record, cni_base, masquerade_elements};

/// Looks after the plugins' table.
#[derive(Debug)]
pub struct Restorer {
    socket: Netfilter,
    folder: PathBuf,
    /// Whether packets to 127.0.0.0/8 may come in: then the table's rule against that is wanted even without records.
    loopback_open: bool,
    /// Folders that a plugin has left word of, and why they can't be read.
    out_of_reach: BTreeMap<PathBuf, String>,
    /// The packet filter's generation at which all was well.
    settled: Option<u32>,
    /// Files whose elements were missing at the last look. A plugin that is removing them has just not got to its record
    /// yet, so only what is missing twice is put back.
    missing: BTreeSet<PathBuf>,
}

/// What a file says.
enum Content {
    Masquerade(Record),
    Ports(PortRecord),
}

impl Restorer {
    /// For the plugins' records in this folder, which need not exist.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            socket: Netfilter::open()?,
            folder: folder.to_owned(),
            loopback_open: false,
            out_of_reach: BTreeMap::new(),
            settled: None,
            missing: BTreeSet::new(),
        })
    }

    /// Looks, unless nothing has changed since the last look; puts back what is missing. Returns how many attachments
    /// that were, those with host ports counted for these too. To be called a few times a second.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn look(&mut self) -> Result<usize, KernelError> {
        let generation = read::generation(&mut self.socket)?;
        if self.settled == Some(generation) {
            return Ok(0);
        }
        let mut lacking = self.records();
        let (_, table) = read::table(&mut self.socket, CNI_TABLE)?;
        let stands = mend(&cni_base(), table.as_ref()).is_empty();
        if let Some(table) = table.filter(|_| stands) {
            let there = elements(&table);
            let is_there = |(set, element): &(&str, Element)| there.contains(&(set, element));
            lacking.retain(|(_, content)| !content.elements().iter().all(is_there));
        }
        if !stands && self.loopback_open {
            put_base(&mut self.socket)?;
        }
        let mut restored = 0;
        for (path, content) in &lacking {
            if !stands || self.missing.contains(path) {
                restored += usize::from(content.restore(&mut self.socket)?);
            }
        }
        // Whoever changes the packet filter from here on, we ourselves included, is looked at again.
        self.settled = lacking.is_empty().then_some(generation);
        self.missing = lacking.into_iter().map(|(path, _)| path).collect();
        Ok(restored)
    }
}

impl Restorer {
    /// Folders with records that can't be read here, and why: what stands there is not put back.
    pub fn out_of_reach(&self) -> &BTreeMap<PathBuf, String> {
        &self.out_of_reach
    }

    /// All records: those in the folder, and in those that plugins have left word of.
    fn records(&mut self) -> Vec<(PathBuf, Content)> {
        self.out_of_reach.clear();
        self.loopback_open = self.folder.join(LOOPBACK_OPEN).exists();
        let mut found = records(&self.folder).unwrap_or_default();
        for folder in elsewhere(&self.folder.join(ELSEWHERE)) {
            self.loopback_open |= folder.join(LOOPBACK_OPEN).exists();
            match records(&folder) {
                Ok(more) => found.extend(more),
                Err(error) => drop(self.out_of_reach.insert(folder, error.to_string())),
            }
        }
        found
    }
}

/// The folders that were left word of by plugins in this network namespace.
fn elsewhere(words: &Path) -> BTreeSet<PathBuf> {
    let Ok(own) = Netns::id_of_caller() else {
        return BTreeSet::new();
    };
    let entries = fs::read_dir(words).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let text = bounded_file::read_text(&entry.path(), Links::Refused, MIB).ok()?;
            let word = Elsewhere::parse(&text).filter(|word| word.netns == own)?;
            Some(word.folder)
        })
        .collect()
}

impl Content {
    fn parse(text: &str) -> Option<Self> {
        let masquerade = Record::parse(text).map(Self::Masquerade);
        masquerade.or_else(|| PortRecord::parse(text).map(Self::Ports))
    }

    fn owner(&self) -> Owner {
        match self {
            Self::Masquerade(record) => record.owner(),
            Self::Ports(record) => record.owner(),
        }
    }

    fn elements(&self) -> Vec<(&'static str, Element)> {
        let owner = self.owner();
        match self {
            Self::Masquerade(record) => {
                let addrs = record.masquerade.iter();
                addrs
                    .flat_map(|addr| masquerade_elements(&owner, *addr))
                    .collect()
            }
            // Contradictions have never been in the table.
            Self::Ports(record) => record.publication.elements(&owner).unwrap_or_default(),
        }
    }

    /// Whether it could be put back: another container may have been given the port meanwhile.
    fn restore(&self, socket: &mut Netfilter) -> Result<bool, KernelError> {
        let owner = self.owner();
        match self {
            Self::Masquerade(record) => masquerade(socket, &owner, &record.masquerade)?,
            Self::Ports(record) => match publish(socket, &owner, &record.publication, |_| false) {
                Ok(()) => {}
                Err(PublishError::Kernel(error)) => return Err(error),
                Err(error) => {
                    tracing::debug!(%owner, %error, "host ports not restored");
                    return Ok(false);
                }
            },
        }
        Ok(true)
    }
}

fn elements(table: &TableReading) -> BTreeSet<(&str, &Element)> {
    let sets = table.sets.iter();
    sets.flat_map(|(name, set)| set.elements.iter().map(move |e| (name.as_str(), e)))
        .collect()
}

fn records(folder: &Path) -> io::Result<Vec<(PathBuf, Content)>> {
    let entries = fs::read_dir(folder)?.flatten();
    let records = entries
        .filter_map(|entry| {
            let path = entry.path();
            let text = bounded_file::read_text(&path, Links::Refused, MIB).ok()?;
            let content = Content::parse(&text)?;
            Some((path, content))
        })
        .collect();
    Ok(records)
}
