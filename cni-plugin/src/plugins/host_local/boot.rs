//! Which reservations an earlier boot has left. No container outlives the boot that it was started in, but its files
//! do when DEL is never called; Go's plugin keeps such addresses until the files are deleted by hand.
//!
//! `.boot-id` names the boot in which the folder was last in use. What is older than the present boot goes once, at the
//! first call in it. A folder without that note is another plugin's, and nothing of it is taken for old.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tweed_host::bounded_file::{self, KIB, Links};

use crate::state::file;

/// A number that the kernel draws at each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// When the machine was started, if nothing has been done in this folder since.
pub(super) fn start_of_new_boot(network_dir: &Path) -> Option<SystemTime> {
    let present = fs::read_to_string(BOOT_ID).ok()?;
    let noted = read(&note(network_dir))?;
    (noted != present).then(started).flatten()
}

/// Records that the folder is in use in this boot. Without a note nothing is ever taken for old, so that one that can't
/// be written does no harm.
pub(super) fn record_boot(network_dir: &Path) {
    let path = note(network_dir);
    let noted = read(&path);
    if let Ok(present) = fs::read_to_string(BOOT_ID)
        && noted.as_ref() != Some(&present)
    {
        let _ = file::overwrite(&path, &present);
    }
}

fn read(path: &Path) -> Option<String> {
    bounded_file::read_text(path, Links::Refused, KIB).ok()
}

fn note(network_dir: &Path) -> std::path::PathBuf {
    network_dir.join(".boot-id")
}

/// The clock's time at the start: a container that Go's plugin has served since is newer.
fn started() -> Option<SystemTime> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(seconds).ok()?)
}
