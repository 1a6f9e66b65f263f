//! The records of attachments. The rules themselves name no container.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tweed_attach::ForwardRecord;
use tweed_attach::forwarding::forward_file_name;
use tweed_attach::record::leaving;

use crate::net::identity;
use crate::spec::{Attachment, CniError};
use crate::state::{file, records};

/// Where the record of an attachment is.
#[derive(Clone, Debug)]
pub(super) struct RecordFile(PathBuf);

impl RecordFile {
    pub(super) fn of(folder: &Path, network: &str, attachment: &Attachment) -> Self {
        let owner = identity::owner(network, attachment);
        Self(folder.join(forward_file_name(&owner)))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.exists() || leaving(&self.0).exists()
    }

    pub(super) fn read(&self) -> Option<ForwardRecord> {
        ForwardRecord::parse(&records::read(&self.0)?)
    }

    pub(super) fn write(&self, record: &ForwardRecord) -> Result<(), CniError> {
        records::write(&self.0, &record.render())
    }

    /// Notes that its rules are being removed.
    pub(super) fn leave(&self) -> Result<(), CniError> {
        records::leave(&self.0)
    }

    pub(super) fn forget(&self) -> Result<(), CniError> {
        file::forget(&self.0)?;
        file::remove(&leaving(&self.0))
    }

    /// The addresses of all attachments that have rules, and keep them.
    pub(super) fn others(&self) -> BTreeSet<IpAddr> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        let others = all(folder).into_iter();
        let others = others.filter(|(file, _)| file.0 != self.0 && file.0.exists());
        others.flat_map(|(_, record)| record.forwarded).collect()
    }
}

/// All records of a folder, those of attachments that are being removed included.
pub(super) fn all(folder: &Path) -> Vec<(RecordFile, ForwardRecord)> {
    let all = records::all(folder, ForwardRecord::parse).into_iter();
    all.map(|(path, record)| {
        let file = path.with_file_name(forward_file_name(&record.owner()));
        (RecordFile(file), record)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_passed_over_or_written_as_it_was_read() {
        const TEXT: &str = r#"{"network":"n","containerID":"c","ifname":"e","netns":"/run/netns/c","forwarded":["10.0.0.9","fd00::9"],"adminChain":"CNI-ADMIN","isolated":["cni0","isolated"]}"#;
        tweed_fuzz::fuzz("firewall file", 20, |source| {
            let read = ForwardRecord::parse(&tweed_fuzz::changed(source, &[TEXT]));
            let written = read.as_ref().map(ForwardRecord::render);
            let again = written.as_deref().and_then(ForwardRecord::parse);
            assert_eq!(again, read);
            read.is_some()
        });
    }
}
