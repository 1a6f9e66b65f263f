//! The container's namespace, as the call names it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tweed_netlink::Netlink;
use tweed_netlink::netns::{Netns, NetnsError};

use crate::spec::{Call, CniError, Kind};

/// Opens the namespace of an ADD or CHECK.
///
/// # Errors
/// When there is none.
pub(crate) fn open(call: &Call) -> Result<Netns, CniError> {
    let path = call
        .netns
        .as_deref()
        .ok_or_else(|| CniError::new(Kind::Environment, "CNI_NETNS is empty"))?;
    Netns::open(path).map_err(|error| failed(path, &error))
}

/// Opens the namespace of a DEL. `None` when it is gone, be it that nothing is at its path, or a file that is no
/// namespace: when a mount goes, its file stays behind, and the container has nothing left that could be removed.
///
/// # Errors
/// When it can't be opened for another reason.
pub(crate) fn open_if_there(call: &Call) -> Result<Option<Netns>, CniError> {
    open_at(call.netns.as_deref())
}

/// A socket in the namespace of a path. `None` when the namespace is gone.
///
/// # Errors
/// When it is there and can't be entered.
pub(crate) fn socket_at(path: Option<&Path>) -> Result<Option<Netlink>, CniError> {
    let Some(netns) = open_at(path)? else {
        return Ok(None);
    };
    match netns.netlink() {
        // What can be opened but not entered is no network namespace.
        Err(error) if error.is_gone() => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Whether both paths lead to one namespace. One that can't be looked at is none.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

fn open_at(path: Option<&Path>) -> Result<Option<Netns>, CniError> {
    let Some(path) = path else {
        return Ok(None);
    };
    match Netns::open(path) {
        Ok(netns) => Ok(Some(netns)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, error: &NetnsError) -> CniError {
    CniError::failed(format!(
        "failed to open netns {:?}: {error}",
        path.display()
    ))
}
