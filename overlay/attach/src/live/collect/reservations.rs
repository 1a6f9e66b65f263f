//! Addresses that `host-local` has reserved, ours or Go's.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tweed_host::bounded_file::{self, KIB, Links};
use tweed_host::file_lock::{self, Sharing};

use super::claims::Claims;
use super::scope::{Collected, Scope};
use crate::Owner;
use crate::reservation::{NOTES, holder};

/// A plugin has the lock for less than a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);
/// The longest file that is read, in bytes: a container ID and the name of an interface.
const LONGEST: usize = 4 * KIB;
/// What our plugin knows of all files. It may be removed at any time.
const INDEX: &str = ".index";

/// Releases the addresses of these attachments. Plugins wait meanwhile; whether a container is gone is asked once more,
/// since none that has reserved an address by now is.
pub(super) fn remove(
    scope: &Scope,
    claims: &Claims,
    doomed: &BTreeSet<Owner>,
    collected: &mut Collected,
) {
    for folder in scope.folders().filter(|folder| folder.is_dir()) {
        let network = folder.file_name().unwrap_or_default().to_string_lossy();
        let held = |path: &Path| held_by(path, &network).filter(|owner| doomed.contains(owner));
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        let files: Vec<_> = files.map(|entry| entry.path()).collect();
        if !files.iter().any(|path| held(path).is_some()) {
            continue;
        }
        let Some(_lock) = collected.note(&folder, lock(&folder)) else {
            continue;
        };
        let stale = |path: &&Path| held(path).is_some_and(|owner| claims.is_gone(&owner));
        let before = collected.addresses;
        for path in files.iter().map(PathBuf::as_path).filter(stale) {
            let note = folder
                .join(NOTES)
                .join(path.file_name().unwrap_or_default());
            let removed = fs::remove_file(path);
            if collected.note(path, removed).is_some() {
                // Without its address it says nothing.
                let _ = fs::remove_file(note);
                collected.addresses += 1;
            }
        }
        if collected.addresses > before {
            let _ = fs::remove_file(folder.join(INDEX));
        }
    }
}

/// The attachment that an address is reserved for.
fn held_by(path: &Path, network: &str) -> Option<Owner> {
    path.file_name()?.to_str()?.parse::<IpAddr>().ok()?;
    let text = bounded_file::read_trusted(path, LONGEST).ok()?;
    let (container, ifname) = holder(&text)?;
    Some(Owner::new(network, container, ifname?))
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = bounded_file::open(&folder.join("lock"), Links::Refused)?;
    file_lock::acquire(&file, Sharing::Exclusive, DEADLINE)?;
    Ok(file)
}
