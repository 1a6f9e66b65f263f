//! Why an interface can't be put right, where it is not the kernel that says so.

use std::io;

use tweed_host::KernelError;

pub(super) fn refused(name: &str, why: &str) -> KernelError {
    KernelError {
        what: format!("put link {name} right"),
        source: io::Error::other(why.to_owned()),
    }
}
