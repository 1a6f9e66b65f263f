//! Why an interface can't be put right, where it is not the kernel that says so.

use std::io;

use tweed_host::KernelError;

use crate::linux::Linux;

/// Whether an interface is the host's uplink or a device of ours, which no record of an attachment changes.
pub(super) fn hosts_own(linux: &Linux, name: &str) -> bool {
    let books = linux.ledger.lock();
    books.scope.uplink == name || books.scope.link_names.contains(name)
}

pub(super) fn refused(name: &str, why: &str) -> KernelError {
    KernelError {
        what: format!("put link {name} right"),
        source: io::Error::other(why.to_owned()),
    }
}
