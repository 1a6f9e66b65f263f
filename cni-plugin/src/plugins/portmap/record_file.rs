//! Paths of the records of host ports.

use std::path::{Path, PathBuf};

use tweed_attach::record::{leaving, port_file_name};
use tweed_attach::{Owner, PortRecord};
use tweed_netlink::netns::Netns;

use crate::net::identity;
use crate::spec::Attachment;
use crate::state::records;

/// A record's path, and its owner.
pub(super) struct RecordFile {
    /// The attachment as it stands in the packet filter.
    pub(super) owner: Owner,
    pub(super) path: PathBuf,
}

impl RecordFile {
    /// The record of an attachment.
    pub(super) fn of(folder: &Path, network: &str, attachment: &Attachment) -> Self {
        let owner = identity::owner(network, attachment);
        let path = folder.join(port_file_name(&owner));
        Self { owner, path }
    }

    /// Whether the record says all that the attachment may have in the packet filter: there is none beside it of an
    /// earlier ADD or of a DEL, be it that either was killed.
    pub(super) fn is_whole(&self) -> bool {
        !leaving(&self.path).exists()
    }

    /// The file of another attachment whose record is in the same folder.
    pub(super) fn of_other(&self, owner: &Owner) -> PathBuf {
        self.path.with_file_name(port_file_name(owner))
    }
}

/// Whether the namespace in a record is gone. Without a record it counts as there.
pub(super) fn is_gone(path: &Path) -> bool {
    let text = records::read(path).unwrap_or_default();
    let record = PortRecord::parse(&text).filter(|record| !record.netns.is_empty());
    let netns = record.map(|record| Netns::open(record.netns));
    netns.is_some_and(|netns| netns.is_err_and(|error| error.is_gone()))
}
