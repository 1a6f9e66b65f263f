//! Whether the network namespace of a container is gone, and not only invisible here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tweed_netlink::netns::{Netns, NetnsError};

/// Whether nothing is at a path, and its folder is the host's: it lies in the file system of `records`, a folder or file of
/// ours, or has other namespaces in it. An agent in a container has another folder there, or none. A path that can't be
/// looked at is no sign, nor is a file that is no namespace: its mount may be another mount namespace's.
pub fn is_surely_gone(netns: &Path, records: &Path) -> bool {
    netns.is_absolute()
        && matches!(Netns::open(netns), Err(NetnsError::Missing(_)))
        && is_the_hosts(netns, records)
}

fn is_the_hosts(netns: &Path, records: &Path) -> bool {
    let Some(folder) = netns.parent() else {
        return false;
    };
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let mut others = fs::read_dir(folder).into_iter().flatten().flatten();
    device(records).is_some_and(|records| Some(records) == device(folder))
        || others.any(|other| Netns::open(other.path()).is_ok())
}
