//! What DEL will restore, in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tweed_attach::Owner;
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_host::whole_file::OnDisk;
use tweed_netlink::LinkInfo;

use super::config::Attributes;
use crate::spec::{Attachment, CniError, Context};
use crate::state::file;

/// What was there before. The first five keys are those of Go's plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Saved {
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    promisc: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allmulti: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "txQLen")]
    tx_queue: Option<u32>,
    /// Values of switches, by their paths below `/proc/sys`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sysctl: BTreeMap<String, String>,
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl Saved {
    /// What an interface has of the attributes that are to be changed.
    pub(super) fn of(network: &str, attachment: &Attachment) -> Self {
        Self {
            network: network.to_owned(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
            ..Self::default()
        }
    }

    /// Keeps what the interface has of the attributes that are to be changed.
    pub(super) fn keep(&mut self, link: &LinkInfo, changed: &Attributes) {
        if let Some(mac) = link.mac.filter(|_| changed.mac.is_some()) {
            self.mac = mac.to_string();
        }
        self.promisc = changed.promisc.map(|_| link.promisc);
        self.mtu = changed.mtu.map(|_| link.mtu);
        self.allmulti = changed.allmulti.map(|_| link.allmulti);
        self.tx_queue = changed.tx_queue.map(|_| link.txqlen);
    }

    /// The same with what an earlier ADD has kept, which goes before: that was there first.
    pub(super) fn after(self, earlier: Self) -> Self {
        let mut sysctl = self.sysctl;
        sysctl.extend(earlier.sysctl);
        Self {
            mac: match earlier.mac.as_str() {
                "" => self.mac,
                _ => earlier.mac,
            },
            promisc: earlier.promisc.or(self.promisc),
            mtu: earlier.mtu.or(self.mtu),
            allmulti: earlier.allmulti.or(self.allmulti),
            tx_queue: earlier.tx_queue.or(self.tx_queue),
            sysctl,
            ..self
        }
    }

    /// What to give back to the interface.
    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            mac: self.mac.parse().ok(),
            promisc: self.promisc,
            mtu: self.mtu,
            allmulti: self.allmulti,
            tx_queue: self.tx_queue,
        }
    }
}

/// The file of an attachment.
#[derive(Clone, Debug)]
pub(super) struct SavedFile(PathBuf);

impl SavedFile {
    pub(super) fn of(folder: &Path, attachment: &Attachment) -> Self {
        let Attachment {
            container_id,
            ifname,
        } = attachment;
        Self(folder.join(format!("{container_id}_{ifname}.json")))
    }

    /// What is in it; nothing if it isn't there, or makes no sense.
    pub(super) fn read(&self) -> Option<Saved> {
        let text = bounded_file::read_text(&self.0, Links::Refused, MIB).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn write(&self, saved: &Saved) -> Result<(), CniError> {
        let Self(path) = self;
        let text = serde_json::to_string_pretty(saved).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)
            .and_then(|()| file::replace(path, &file::unfinished(path), &text, OnDisk::Nothing))
            .context(|| format!("write {}", path.display()))
    }

    pub(super) fn forget(&self) -> Result<(), CniError> {
        file::forget(&self.0)
    }
}

/// All files that say which attachment they are of.
pub(super) fn all(folder: &Path) -> Vec<(SavedFile, Owner)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = SavedFile(entry.path());
            let saved = file.read().filter(|saved| !saved.network.is_empty())?;
            let owner = Owner::new(&saved.network, &saved.container_id, &saved.ifname);
            Some((file, owner))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_gos_plugin() {
        let go = r#"{ "mac": "02:00:00:00:00:01", "promisc": false, "mtu": 1500, "txQLen": 1000 }"#;
        let saved: Saved = serde_json::from_str(go).unwrap();
        let expected = Attributes {
            mac: "02:00:00:00:00:01".parse().ok(),
            promisc: Some(false),
            mtu: Some(1500),
            allmulti: None,
            tx_queue: Some(1000),
        };
        assert_eq!(saved.attributes(), expected);
    }

    #[test]
    fn what_was_there_first_is_restored() {
        let attachment = Attachment {
            container_id: "c".into(),
            ifname: "eth0".into(),
        };
        let with = |mtu: u32, key: &str, value: &str| Saved {
            mtu: Some(mtu),
            sysctl: [(key.to_owned(), value.to_owned())].into(),
            ..Saved::of("net", &attachment)
        };
        let mut both = with(1400, "net/b", "2").after(with(1500, "net/a", "1"));
        assert_eq!((both.mtu, both.sysctl.len()), (Some(1500), 2));
        both = with(1300, "net/a", "9").after(both);
        assert_eq!(both.sysctl["net/a"], "1");
    }

    #[test]
    fn a_text_is_passed_over_or_written_as_it_was_read() {
        const TEXT: &str = r#"{"mac":"02:00:00:00:00:01","promisc":false,"mtu":1500,"allmulti":true,"txQLen":1000,"sysctl":{"net/a":"1"},"network":"net","containerID":"c","ifname":"eth0"}"#;
        tweed_fuzz::fuzz("tuning file", 20, |source| {
            let text = tweed_fuzz::changed(source, &[TEXT, "{}"]);
            let Ok(saved) = serde_json::from_str::<Saved>(&text) else {
                return false;
            };
            let written = serde_json::to_string_pretty(&saved).unwrap();
            assert_eq!(serde_json::from_str::<Saved>(&written).unwrap(), saved);
            let _ = saved.attributes();
            true
        });
    }
}
