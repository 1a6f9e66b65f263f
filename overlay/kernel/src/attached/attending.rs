//! What is known of attachments from one look to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use tweed_attach::live::{Recorded, Records, Table};
use tweed_state::Attached;

use super::gone::Gone;

/// The records, the table and what was missing.
#[derive(Debug)]
pub(crate) struct Attending {
    pub(super) records: Records,
    pub(super) recorded: Arc<Recorded>,
    pub(super) table: Table,
    /// Attachments of which elements were missing at the last look.
    missing: BTreeSet<String>,
    pub(super) gone: Gone,
}

impl Attending {
    pub(crate) fn by(records: Records) -> Self {
        Self {
            records,
            recorded: Arc::default(),
            table: Table::default(),
            missing: BTreeSet::new(),
            gone: Gone::default(),
        }
    }

    /// Attachments of which elements are missing that were there at the last look.
    pub(super) fn unsure(&mut self, want: &Attached, there: &Attached) -> BTreeSet<String> {
        let lack = |owner: &&String| {
            want.masquerade.get(*owner) != there.masquerade.get(*owner)
                || want.host_ports.get(*owner) != there.host_ports.get(*owner)
        };
        let owners = want.masquerade.keys().chain(want.host_ports.keys());
        let missing: BTreeSet<String> = owners.filter(lack).cloned().collect();
        let unsure = match there.rules {
            true => missing.difference(&self.missing).cloned().collect(),
            // The whole table is gone: that was no plugin.
            false => BTreeSet::new(),
        };
        self.missing = missing;
        unsure
    }
}
