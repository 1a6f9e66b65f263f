//! The lock on a container's namespace. Go's plugin takes the same.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use tweed_host::file_lock::{self, Sharing};
use tweed_netlink::netns::Netns;

use crate::spec::{CniError, Context};

const DEADLINE: Duration = Duration::from_secs(60);

/// Keeps other calls for the same container from choosing the same table. The lock ends with the file and the namespace.
///
/// # Errors
/// When another process holds it past the deadline.
pub(super) fn namespace(netns: &Netns) -> Result<File, CniError> {
    let what = || format!("lock {}", netns.path().display());
    let file = File::from(netns.as_fd().try_clone_to_owned().context(what)?);
    file_lock::acquire(&file, Sharing::Exclusive, DEADLINE).context(what)?;
    Ok(file)
}
