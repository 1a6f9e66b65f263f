//! Removes what containers have left that are gone without DEL, of the networks of our own lists: no runtime of Kubernetes
//! calls GC. At the start and then at intervals, by the thread `files`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tweed_attach::Owner;
use tweed_attach::live::CNI_DATA_DIR;
use tweed_attach::live::collect::{Collected, Scope, collect};
use tweed_attach::record::RECORDS_DIR;
use tweed_host::random;

use super::{Keeper, News, next_look};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};
use crate::files::cni::networks;

/// A container that two collections so far apart find gone is gone.
const CONFIRM: Duration = Duration::from_secs(6);

/// Has them collected.
pub struct Collection {
    /// Where the lists are.
    conf_dir: PathBuf,
    every: Duration,
    due: Instant,
    /// What the last collection has found gone.
    gone: BTreeSet<Owner>,
    running: Reading<Collected>,
    told: Vec<String>,
}

impl Collection {
    /// The first is due now.
    pub fn new(conf_dir: PathBuf, every: Duration, reader: Reader, now: Instant) -> Self {
        Self {
            conf_dir,
            every,
            due: now,
            gone: BTreeSet::new(),
            running: Reading::new(reader),
            told: Vec::new(),
        }
    }

    fn begin(&mut self, now: Instant) {
        let every = self.every.mul_f64(0.9 + 0.2 * random::fraction());
        self.due = next_look(now, every);
        let (conf_dir, gone) = (self.conf_dir.clone(), self.gone.clone());
        self.running.ask(move || collect(&scope(&conf_dir), &gone));
    }

    fn take(&mut self, collected: Collected, facts: &mut Facts, now: Instant) {
        facts.attached.collected += collected.total();
        let Collected {
            addresses,
            devices,
            rules,
            ..
        } = collected;
        if collected.total() > 0 {
            tracing::info!(
                addresses,
                devices,
                rules,
                "what containers have left that are gone without DEL is removed"
            );
        }
        if !collected.errors.is_empty() && collected.errors != self.told {
            tracing::warn!(
                error = collected.errors.join("; "),
                "what containers have left that are gone can't be removed: make it writable, or switch this off by --cni-gc=off"
            );
        }
        if !collected.gone.is_subset(&self.gone) {
            self.due = self.due.min(now + CONFIRM);
        }
        self.told = collected.errors;
        self.gone = collected.gone;
    }
}

impl Keeper for Collection {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        if let Some(collected) = self.running.take() {
            self.take(collected, facts, now);
        }
        if now >= self.due {
            self.begin(now);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }
}

/// The networks of our lists as they are now, and the usual folders.
fn scope(conf_dir: &Path) -> Scope {
    let data = Path::new(CNI_DATA_DIR);
    let mut scope = Scope {
        networks: BTreeSet::new(),
        reservations: [data.join("networks")].into(),
        records: RECORDS_DIR.into(),
        results: data.join("results"),
    };
    for network in networks(conf_dir) {
        scope.networks.insert(network.name);
        scope.reservations.extend(network.reservations);
    }
    scope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ids: &[&str], addresses: u64) -> Collected {
        let owners = ids.iter().map(|id| Owner::new("cbr0", id, "eth0"));
        Collected {
            gone: owners.collect(),
            addresses,
            ..Collected::default()
        }
    }

    #[test]
    fn what_is_found_gone_is_looked_at_again_soon_and_otherwise_at_intervals() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let reader = Reader::by_kernel(std::sync::mpsc::channel().0);
        let mut keeper = Collection::new("/nowhere".into(), hour, reader, now);
        let mut facts = Facts::default();
        let mut next = |keeper: &mut Collection, collected| {
            keeper.begin(now);
            keeper.take(collected, &mut facts, now);
            keeper.due - now
        };
        let interval = next(&mut keeper, found(&[], 0));
        let least = hour.mul_f64(0.9) - Duration::from_secs(10);
        assert!(interval >= least && interval <= hour.mul_f64(1.1));
        assert_eq!(next(&mut keeper, found(&["a"], 0)), CONFIRM);
        // What the runtime keeps of it stays: that alone is no reason to look each time.
        assert!(next(&mut keeper, found(&["a"], 2)) > CONFIRM);
        assert!(next(&mut keeper, found(&[], 0)) > CONFIRM);
        assert_eq!(next(&mut keeper, found(&["b"], 0)), CONFIRM);
        assert_eq!(facts.attached.collected, 2);
    }
}
