//! State of attachments that is kept from one look to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use tweed_attach::live::forwarding::Forwarding;
use tweed_attach::live::{Recorded, Records, Table};
use tweed_state::Attached;

use super::gone::Gone;

/// Records, the plugins' table, and the elements that were missing.
#[derive(Debug)]
pub(crate) struct AttachmentState {
    pub(super) records: Records,
    pub(super) recorded: Arc<Recorded>,
    pub(super) table: Table,
    /// That of source addresses.
    pub(super) sources: Table,
    pub(super) forwarding: Forwarding,
    /// Attachments with missing elements at the last look.
    missing: BTreeSet<String>,
    pub(super) gone: Gone,
}

impl AttachmentState {
    pub(crate) fn by(records: Records) -> Self {
        Self {
            records,
            recorded: Arc::default(),
            table: Table::default(),
            sources: Table::of_bridges(),
            forwarding: Forwarding::default(),
            missing: BTreeSet::new(),
            gone: Gone::default(),
        }
    }

    /// Attachments with elements that are missing now and were there at the last look.
    pub(super) fn unsure(&mut self, want: &Attached, there: &Attached) -> BTreeSet<String> {
        let lack = |owner: &&String| {
            want.masquerade.get(*owner) != there.masquerade.get(*owner)
                || want.host_ports.get(*owner) != there.host_ports.get(*owner)
        };
        let owners = want.masquerade.keys().chain(want.host_ports.keys());
        let missing: BTreeSet<String> = owners.filter(lack).cloned().collect();
        let unsure = match there.rules {
            true => missing.difference(&self.missing).cloned().collect(),
            // The whole table is gone: no plugin removes it.
            false => BTreeSet::new(),
        };
        self.missing = missing;
        unsure
    }
}
