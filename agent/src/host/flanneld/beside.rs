//! A flanneld that is started while an agent runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Flanneld, look_at, processes};
use crate::config::options::Options;

/// Number of looks at each new process: at the first one it may not have called exec(2) yet.
const TWICE: u8 = 2;
/// After so many looks all processes count as new: an id may have been given out again.
const AFRESH: u32 = 12;

/// Looks for a flanneld repeatedly. It inspects new processes only, so that it costs little on a host with many.
#[derive(Debug, Default)]
pub struct Beside {
    proc: PathBuf,
    /// Number of looks at each process, by id.
    seen: BTreeMap<u32, u8>,
    /// Flannelds that ran at the start, of which more could be read then.
    before: Vec<Flanneld>,
    found: BTreeSet<u32>,
    looks: u32,
}

impl Beside {
    /// A search on a host where those of `before` ran at the start.
    pub fn new(proc: &Path, before: Vec<Flanneld>) -> Self {
        Self {
            proc: proc.to_owned(),
            seen: BTreeMap::new(),
            found: BTreeSet::new(),
            before,
            looks: 0,
        }
    }

    /// Flannelds that run now.
    pub fn look(&mut self) -> Vec<Flanneld> {
        let there = processes(&self.proc);
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(AFRESH) {
            self.seen.clear();
        }
        self.seen.retain(|pid, _| there.contains(pid));
        self.before.retain(|flanneld| there.contains(&flanneld.pid));
        let mut all = Vec::new();
        for pid in there {
            let times = self.seen.entry(pid).or_default();
            if *times == TWICE && !self.found.contains(&pid) {
                continue;
            }
            *times = TWICE.min(*times + 1);
            all.extend(look_at(&self.proc, pid));
        }
        self.found = all.iter().map(|flanneld| flanneld.pid).collect();
        let known = |flanneld: Flanneld| {
            let mut before = self.before.iter();
            let known = before.find(|before| before.pid == flanneld.pid);
            known.cloned().unwrap_or(flanneld)
        };
        all.into_iter().map(known).collect()
    }
}

impl Flanneld {
    /// The warning about it, and whether it surely works on the agent's own network. `rewritten` says that another program
    /// has written our `subnet.env`, as flanneld does when it starts.
    pub fn beside(&self, options: &Options, rewritten: bool) -> (String, bool) {
        let pid = self.pid;
        let unknown = self.subnet_file.is_none() && rewritten;
        let conflict = self.conflict(options).or_else(|| {
            let file = options.host.subnet_file.display();
            unknown.then(|| format!("has written {file}"))
        });
        let text = match &conflict {
            Some(what) => format!(
                "flanneld was started beside this agent (pid {pid}) and {what}: each undoes the other's work; stop one of them: systemctl disable --now flanneld"
            ),
            None => format!(
                "flanneld is running beside this agent (pid {pid}), on another network as far as its command line tells"
            ),
        };
        (text, conflict.is_some())
    }
}

#[cfg(test)]
mod tests;
