//! Where the daemon writes.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use tweed_attach::record::RECORDS_DIR;

use super::place::{Allowed, Place};
use crate::config::options::{Options, StoreOptions};

/// Switches of the network. The second is where a container finds them that isn't privileged.
const SWITCHES: [&str; 2] = ["/proc/sys/net", "/host/proc/sys/net"];
/// Where `host-local` keeps its reservations.
const RESERVATIONS: &str = "/var/lib/cni/networks";
/// Devices: of our own data plane, and the one that takes everything.
const DEVICES: [&str; 2] = ["/dev/net/tun", "/dev/null"];

/// Files and folders that the daemon writes to, beside those that it has open already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// With the mode they are made with.
    own: Vec<(PathBuf, u32)>,
    store: Option<PathBuf>,
    /// Reservations of containers, which the plugins' folder above has beside files that plugins act upon.
    reservations: Option<PathBuf>,
    writable: Vec<PathBuf>,
}

impl Files {
    /// The files of a daemon with these options.
    pub fn of(options: &Options) -> Self {
        let host = &options.host;
        let folder = |file: &Path| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut own = vec![
            (host.state_dir.clone(), 0o700),
            (host.run_dir.clone(), 0o755),
            (RECORDS_DIR.into(), 0o755),
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
            reservations: options.collection.as_ref().map(|_| RESERVATIONS.into()),
            writable: SWITCHES.iter().chain(&DEVICES).map(PathBuf::from).collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn in_folder(own: &Path) -> Self {
        Self {
            own: vec![(own.to_owned(), 0o755)],
            store: None,
            reservations: None,
            writable: vec!["/dev/null".into()],
        }
    }

    /// Makes the daemon's folders that are missing. A right is bound to what is there: where one can't be made now, as on a
    /// full file system, the nearest folder above gets it in its place ([`Self::places`]), or it could never be made.
    pub(super) fn make(&self) {
        let store = self.store.iter().map(|folder| (folder, 0o777));
        for (folder, mode) in self.own.iter().map(|(f, mode)| (f, *mode)).chain(store) {
            if is_missing(folder)
                && let Err(error) = DirBuilder::new().recursive(true).mode(mode).create(folder)
            {
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "this folder can't be made yet: until the agent is restarted it may write to all of the folder above"
                );
            }
        }
        // Where it can't be made, nothing above it is opened.
        for folder in self.reservations.iter().filter(|folder| is_missing(folder)) {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            drop(made.inspect_err(|error| tracing::debug!(%error, "no folder of reservations")));
        }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let place = |allowed| {
            move |path: &PathBuf| Place {
                path: path.clone(),
                allowed,
            }
        };
        let own = self.own.iter().map(|(folder, _)| folder);
        let folders = own.chain(&self.store).map(|folder| nearest(folder));
        let folders: Vec<PathBuf> = folders.map(Path::to_owned).collect();
        let writable = self.writable.iter().map(place(Allowed::Writing));
        let folders = folders.into_iter().map(|path| Place {
            path,
            allowed: Allowed::Everything,
        });
        let reservations = self.reservations.iter().map(place(Allowed::Everything));
        folders.chain(reservations).chain(writable)
    }
}

/// The folder, or the nearest above it that is there.
fn nearest(folder: &Path) -> &Path {
    let mut above = folder.ancestors();
    above.find(|above| !is_missing(above)).unwrap_or(folder)
}

/// Its file system isn't asked anything: it may be one that doesn't answer.
fn is_missing(folder: &Path) -> bool {
    let mut options = File::options();
    let looked = options.read(true).custom_flags(libc::O_PATH).open(folder);
    looked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
