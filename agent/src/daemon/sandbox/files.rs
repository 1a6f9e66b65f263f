//! Where the daemon writes.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::place::{Allowed, Place};
use crate::config::options::{Options, StoreOptions};

/// Switches of the network. The second is where a container finds them that isn't privileged.
const SWITCHES: [&str; 2] = ["/proc/sys/net", "/host/proc/sys/net"];
/// Devices: of our own data plane, and the one that takes everything.
const DEVICES: [&str; 2] = ["/dev/net/tun", "/dev/null"];

/// All that the daemon writes to, beside what it has open already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// With the mode they are made with.
    own: Vec<(PathBuf, u32)>,
    store: Option<PathBuf>,
    writable: Vec<PathBuf>,
}

impl Files {
    /// Those of a daemon with these options.
    pub fn of(options: &Options) -> Self {
        let host = &options.host;
        let folder = |file: &Path| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut own = vec![
            (host.state_dir.clone(), 0o700),
            (host.run_dir.clone(), 0o755),
            (folder(&host.socket), 0o755),
            (folder(&host.subnet_file), 0o755),
        ];
        if let Some(cni) = &options.cni {
            own.push((cni.conf_dir.clone(), 0o755));
            own.extend(cni.plugins.then(|| (cni.bin_dir.clone(), 0o755)));
        }
        Self {
            own,
            store: match &options.store {
                StoreOptions::File { dir } => Some(dir.clone()),
                StoreOptions::Etcd(_) | StoreOptions::Kube(_) => None,
            },
            writable: SWITCHES.iter().chain(&DEVICES).map(PathBuf::from).collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn in_folder(own: &Path) -> Self {
        Self {
            own: vec![(own.to_owned(), 0o755)],
            store: None,
            writable: vec!["/dev/null".into()],
        }
    }

    /// Makes the daemon's own folders. A right is bound to a folder that is there; where one can't be made yet, the right
    /// is bound to the folder above it. The store's may be a mount that is still to come.
    pub(super) fn make(&self) {
        for (folder, mode) in &self.own {
            // The write itself fails later, and its error says why.
            let _ = DirBuilder::new().recursive(true).mode(*mode).create(folder);
        }
    }

    /// Places that are not there are left to those above them.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let place = |allowed| {
            move |path: &PathBuf| Place {
                path: path.clone(),
                allowed,
            }
        };
        let own = self.own.iter().map(|(folder, _)| folder);
        let folders = own.chain(&self.store);
        folders
            .map(place(Allowed::Everything))
            .chain(self.writable.iter().map(place(Allowed::Writing)))
    }
}
