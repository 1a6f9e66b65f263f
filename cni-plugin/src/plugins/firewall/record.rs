//! The record of an attachment: the addresses that rules are for. The rules themselves name no container.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tweed_attach::Owner;

use crate::net::identity::{self, hash};
use crate::runtime::plugin::Request;
use crate::spec::{Attachment, CniError};
use crate::state::{file, records};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FirewallRecord {
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
    /// The addresses that the host forwards for.
    #[serde(rename = "forwarded")]
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl FirewallRecord {
    pub(super) fn new(request: &Request<'_>, addresses: &BTreeSet<IpAddr>) -> Self {
        let Attachment {
            container_id,
            ifname,
        } = request.call.attachment.clone();
        Self {
            network: request.conf.name.clone(),
            container_id,
            ifname,
            addresses: addresses.clone(),
        }
    }

    pub(super) fn owner(&self) -> Owner {
        Owner::new(&self.network, &self.container_id, &self.ifname)
    }

    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Where the record of an attachment is. Its name ends otherwise than those that the agent reads.
#[derive(Clone, Debug)]
pub(super) struct RecordFile(PathBuf);

impl RecordFile {
    pub(super) fn of(folder: &Path, network: &str, attachment: &Attachment) -> Self {
        let owner = identity::owner(network, attachment).to_string();
        Self(folder.join(format!("{:016x}.firewall", hash(&[&owner]))))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    pub(super) fn read(&self) -> Option<FirewallRecord> {
        FirewallRecord::parse(&records::read(&self.0)?)
    }

    pub(super) fn write(&self, record: &FirewallRecord) -> Result<(), CniError> {
        let text = serde_json::to_string(record).unwrap_or_default();
        records::write(&self.0, &text)
    }

    pub(super) fn forget(&self) -> Result<(), CniError> {
        file::forget(&self.0)
    }

    /// The records of all other attachments.
    pub(super) fn others(&self) -> Vec<(Self, FirewallRecord)> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        let mut all = all(folder);
        all.retain(|(file, _)| file.0 != self.0);
        all
    }
}

/// All records of a folder.
pub(super) fn all(folder: &Path) -> Vec<(RecordFile, FirewallRecord)> {
    let all = records::all(folder, FirewallRecord::parse).into_iter();
    all.map(|(path, record)| (RecordFile(path), record))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_passed_over_or_written_as_it_was_read() {
        const TEXT: &str =
            r#"{"network":"n","containerID":"c","ifname":"e","forwarded":["10.0.0.9","fd00::9"]}"#;
        tweed_fuzz::fuzz("firewall file", 20, |source| {
            let read = FirewallRecord::parse(&tweed_fuzz::changed(source, &[TEXT]));
            let written = read
                .as_ref()
                .map(|read| serde_json::to_string(read).unwrap());
            let again = written.as_deref().and_then(FirewallRecord::parse);
            assert_eq!(again, read);
            read.is_some()
        });
    }
}
