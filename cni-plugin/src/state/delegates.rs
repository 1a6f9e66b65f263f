//! What ADD remembers for DEL: the delegate's configuration, in flannel's folder and format.
//!
//! Flannel's plugin has one file a container, `<container ID>`. The first interface of a container uses that name, so
//! that the two plugins can be swapped in place, either way; further ones, for which flannel has no names, use
//! `<container ID>@<interface>`. A repeated DEL of a further interface finds only the first one's file and may remove
//! it. That costs nothing: a DEL without its file goes by the current configuration.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_host::whole_file::OnDisk;

use crate::net::identity::hash;
use crate::spec::{Attachment, CniError, Context, json};
use crate::state::file;

/// Where the folder is unless configured otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/cni/flannel";

/// The longest file name that file systems allow, in bytes.
const NAME_MAX: usize = 255;

/// The folder of delegate configurations.
pub(crate) struct StateDir {
    dir: PathBuf,
}

/// A file that belongs to an attachment.
pub(crate) struct Saved {
    pub(crate) path: PathBuf,
    /// Its content; `None` when that is not JSON.
    pub(crate) conf: Option<Value>,
}

impl StateDir {
    /// The folder, which need not exist yet.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Writes the delegate's configuration, whole or not at all, and answers where.
    ///
    /// # Errors
    /// When the folder or file can't be written.
    pub(crate) fn save(&self, attachment: &Attachment, conf: &Value) -> Result<PathBuf, CniError> {
        let own = self.own(attachment);
        let flannels = self.flannels(attachment);
        let path = if own.exists() || flannels.exists() {
            own
        } else {
            flannels
        };
        self.write(&path, &json::to_sorted_string(conf))
            .context(|| format!("save {}", path.display()))?;
        Ok(path)
    }

    /// The file of an attachment, if there is one.
    pub(crate) fn load(&self, attachment: &Attachment) -> Option<Saved> {
        [self.own(attachment), self.flannels(attachment)]
            .into_iter()
            .find_map(|path| {
                let conf = match read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                    // What can't be read is there all the same, and goes with the attachment.
                    read => read.ok().and_then(|bytes| json::parse(&bytes).ok()),
                };
                let conf = conf.filter(Value::is_object);
                Some(Saved { path, conf })
            })
    }

    /// Removes the file of an attachment, and what a killed ADD has left of it. Of an ADD that was repeated there are
    /// two, the earlier one under flannel's name; it goes if it can't be that of another interface.
    ///
    /// # Errors
    /// When a file is there and can't be removed.
    pub(crate) fn forget(
        &self,
        attachment: &Attachment,
        saved: Option<&Path>,
        is_only_one: impl FnOnce(&Value) -> bool,
    ) -> Result<(), CniError> {
        let [own, flannels] = [self.own(attachment), self.flannels(attachment)];
        for path in [&own, &flannels] {
            file::remove(&file::unfinished(path))?;
        }
        let Some(saved) = saved else { return Ok(()) };
        file::remove(saved)?;
        let earlier = read(&flannels)
            .ok()
            .and_then(|bytes| json::parse(&bytes).ok());
        match earlier {
            Some(earlier) if saved == own && is_only_one(&earlier) => file::remove(&flannels),
            _ => Ok(()),
        }
    }

    /// Removes the file of an attachment to a network that another entry removes now.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub(crate) fn forget_of(&self, network: &str, attachment: &Attachment) -> Result<(), CniError> {
        let is_of_network =
            |saved: &Saved| saved.conf.as_ref().is_some_and(|c| c["name"] == network);
        match self.load(attachment).filter(is_of_network) {
            Some(saved) => file::remove(&saved.path),
            None => Ok(()),
        }
    }

    /// Removes the files of one network whose container is not among the valid attachments.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub(crate) fn retain(&self, network: &str, valid: &[Attachment]) -> Result<(), CniError> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Ok(());
        };
        let keep: Vec<PathBuf> = valid
            .iter()
            .flat_map(|attachment| [self.own(attachment), self.flannels(attachment)])
            .collect();
        for path in entries.flatten().map(|entry| entry.path()) {
            let of_network = read(&path)
                .ok()
                .and_then(|bytes| json::parse(&bytes).ok())
                .is_some_and(|conf| conf.get("name").is_some_and(|name| name == network));
            if of_network && !keep.contains(&path) {
                file::forget(&path)?;
            }
        }
        Ok(())
    }

    fn flannels(&self, attachment: &Attachment) -> PathBuf {
        self.dir.join(&attachment.container_id)
    }

    /// `@` is not in a container ID's alphabet, so no two attachments share a name.
    fn own(&self, attachment: &Attachment) -> PathBuf {
        let Attachment {
            container_id,
            ifname,
        } = attachment;
        let name = format!("{container_id}@{ifname}");
        if name.len() <= NAME_MAX {
            return self.dir.join(name);
        }
        self.dir
            .join(format!("@{:016x}", hash(&[container_id, ifname])))
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        file::replace(path, &file::unfinished(path), text, OnDisk::Content)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    bounded_file::read(path, Links::Refused, MIB)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attachment(container_id: &str, ifname: &str) -> Attachment {
        Attachment {
            container_id: container_id.into(),
            ifname: ifname.into(),
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_first_interface_has_flannels_file_and_others_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("deep/flannel"));
        let (eth0, net1) = (attachment("abc", "eth0"), attachment("abc", "net1"));
        state.save(&eth0, &json!({"b": 1, "a": 0})).unwrap();
        state.save(&net1, &json!({"a": 1})).unwrap();
        assert_eq!(names(&state.dir), ["abc", "abc@net1"]);
        assert_eq!(
            fs::read_to_string(state.dir.join("abc")).unwrap(),
            r#"{"a":0,"b":1}"#
        );
        assert_eq!(state.load(&net1).unwrap().conf, Some(json!({"a": 1})));
        assert_eq!(
            state.load(&eth0).unwrap().conf,
            Some(json!({"a": 0, "b": 1}))
        );
        file::remove(&state.load(&net1).unwrap().path).unwrap();
        file::remove(&state.load(&eth0).unwrap().path).unwrap();
        assert!(state.load(&eth0).is_none());
    }

    #[test]
    fn a_broken_file_is_found_without_content() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("abc"), "{\"a\":").unwrap();
        let saved = StateDir::new(dir.path())
            .load(&attachment("abc", "eth0"))
            .unwrap();
        assert_eq!(saved.conf, None);
    }

    #[test]
    fn names_that_are_too_long_for_a_file_still_have_one_each() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let id = "a".repeat(250);
        for ifname in ["eth0", "net1", "net2"] {
            state
                .save(&attachment(&id, ifname), &json!({"i": ifname}))
                .unwrap();
        }
        assert_eq!(names(dir.path()).len(), 3);
        let saved = state.load(&attachment(&id, "net2")).unwrap();
        assert_eq!(saved.conf, Some(json!({"i": "net2"})));
    }

    #[test]
    fn collection_keeps_other_networks_and_valid_containers() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        for (id, network) in [("live", "n"), ("dead", "n"), ("other", "m")] {
            state
                .save(&attachment(id, "eth0"), &json!({"name": network}))
                .unwrap();
        }
        state.retain("n", &[attachment("live", "eth0")]).unwrap();
        assert_eq!(names(dir.path()), ["live", "other"]);
    }
}
