//! Puts the plugins' table back when another program has flushed it: the agent is there all the time, the plugins are
//! not. What belongs into the table stands in the plugins' records.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{masquerade, observe, owners, read};
use crate::firewall::{CNI_TABLE, Owner, Record, cni_base};
use crate::kernel::KernelError;
use crate::netlink::Netfilter;

/// Looks after the plugins' table.
#[derive(Debug)]
pub struct Restorer {
    socket: Netfilter,
    folder: PathBuf,
    /// The packet filter's generation at which all was well.
    settled: Option<u32>,
    /// Owners that were missing at the last look. A plugin that is removing them has just not got to its record yet,
    /// so only who is missing twice is put back.
    missing: BTreeSet<Owner>,
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
            settled: None,
            missing: BTreeSet::new(),
        })
    }

    /// Looks, unless nothing has changed since the last look; puts back what is missing. Returns how many attachments
    /// that were. To be called a few times a second.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn look(&mut self) -> Result<usize, KernelError> {
        let generation = read::generation(&mut self.socket)?;
        if self.settled == Some(generation) {
            return Ok(0);
        }
        let records = records(&self.folder);
        let there = owners(&mut self.socket)?;
        let table = observe(&mut self.socket, CNI_TABLE)?;
        let stands = table.is_some_and(|table| table.chains == cni_base().state().chains);
        let lacking = |record: &&Record| !stands || !there.contains(&record.owner());
        let lacking: Vec<&Record> = records.iter().filter(lacking).collect();
        let mut restored = 0;
        for record in &lacking {
            let owner = record.owner();
            if !stands || self.missing.contains(&owner) {
                masquerade(&mut self.socket, &owner, &record.masquerade)?;
                restored += 1;
            }
        }
        self.missing = lacking.iter().map(|record| record.owner()).collect();
        // Whoever changes the packet filter from here on, we ourselves included, is looked at again.
        self.settled = lacking.is_empty().then_some(generation);
        Ok(restored)
    }
}

fn records(folder: &Path) -> Vec<Record> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| Record::parse(&text)).collect()
}
