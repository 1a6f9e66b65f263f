//! What a device was before it was lent: the name, by which it comes back, and the alias, in whose place the name stands
//! while it is away.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tweed_attach::Owner;
use tweed_attach::record::file_name;
use tweed_model::Mac;
use tweed_netlink::LinkInfo;

use crate::net::options;
use crate::spec::Attachment;
use crate::state::records;

/// A device as it was on the host, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Saved {
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
    /// Path of the container's network namespace.
    pub(super) netns: String,
    /// The device's name on the host.
    pub(super) device: String,
    /// Its alias there.
    pub(super) alias: String,
    /// The kernel's name of its kind; empty for hardware.
    pub(super) kind: String,
    /// Its hardware address.
    pub(super) mac: Option<Mac>,
}

impl Saved {
    /// That of a device which an attachment gets.
    pub(super) fn of(
        device: &LinkInfo,
        network: &str,
        attachment: &Attachment,
        netns: &Path,
    ) -> Self {
        Self {
            network: network.to_owned(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
            netns: netns.to_string_lossy().into_owned(),
            device: device.name.clone(),
            alias: device.alias.clone(),
            kind: device.kind.clone(),
            mac: device.mac,
        }
    }

    /// That of a device which Go's plugin has lent: its alias is its name on the host, where it had none.
    pub(super) fn of_alias(device: &LinkInfo) -> Option<Self> {
        options::is_interface(&device.alias).then(|| Self {
            network: String::new(),
            container_id: String::new(),
            ifname: String::new(),
            netns: String::new(),
            device: device.alias.clone(),
            alias: String::new(),
            kind: device.kind.clone(),
            mac: device.mac,
        })
    }

    pub(super) fn owner(&self) -> Owner {
        Owner::new(&self.network, &self.container_id, &self.ifname)
    }

    /// Reads a file's text; `None` if it is another one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let saved: Self = serde_json::from_str(text).ok()?;
        options::is_interface(&saved.device).then_some(saved)
    }

    pub(super) fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The file of an attachment.
pub(super) fn path(folder: &Path, owner: &Owner) -> PathBuf {
    folder.join(file_name(owner)).with_extension("device")
}

/// What is written down of an attachment.
pub(super) fn read(path: &Path) -> Option<Saved> {
    Saved::parse(&records::read(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"network":"net","containerID":"abc","ifname":"eth0","netns":"/run/netns/a","device":"nic0","alias":"spare","kind":"","mac":"02:00:00:00:00:01"}"#;

    #[test]
    fn a_device_survives_its_file_and_no_other_text_is_one() {
        let saved = Saved::parse(TEXT).unwrap();
        assert_eq!(saved.render(), TEXT);
        assert_eq!(saved.owner(), Owner::new("net", "abc", "eth0"));
        for text in [
            TEXT.replace("nic0", "../nic0"),
            TEXT.replace("nic0", ""),
            TEXT.replace("\"alias\"", "\"other\""),
            TEXT[1..].to_owned(),
        ] {
            assert_eq!(Saved::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_passed_over_or_written_as_it_was_read() {
        tweed_fuzz::fuzz("device file", 20, |source| {
            let read = Saved::parse(&tweed_fuzz::changed(source, &[TEXT]));
            let again = read.as_ref().map(|read| Saved::parse(&read.render()));
            assert_eq!(again.flatten(), read);
            read.is_some()
        });
    }
}
