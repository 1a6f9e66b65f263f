//! What the kernel answers when it refuses, in words, and the one table that says which refusals mean "not there".

use std::{fmt, io};

use nix::errno::Errno;
use tweed_host::KernelError;

/// The kind of kernel object that a request is about: the same errno means different things for different objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A network interface.
    Link,
    /// An address of an interface.
    Addr,
    /// A route of the main table.
    Route,
    /// A nexthop object, by which routes lead.
    NextHop,
    /// A neighbour (ARP, NDP) or forwarding database entry.
    Neigh,
    /// A rule that says which table routes a packet.
    Rule,
    /// A queueing discipline, or a filter of one.
    Qdisc,
    /// Anything in nftables or conntrack.
    Netfilter,
}

/// A netlink request that failed. Prints as `add route 10.1.2.0/24 dev flannel.1: no such device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetlinkError {
    /// The operation, naming its object.
    pub what: String,
    /// The kernel's errno, positive; 0 if the failure is not the kernel's answer (see `detail`).
    pub errno: i32,
    /// The kernel's own words (extended acknowledgement), or what went wrong on our side of the socket.
    pub detail: Option<String>,
    /// What kind of object the request was about.
    pub object: Object,
}

impl NetlinkError {
    pub(super) fn of_errno(
        object: Object,
        what: impl fmt::Display,
        errno: i32,
        detail: Option<String>,
    ) -> Self {
        Self {
            what: what.to_string(),
            errno,
            detail,
            object,
        }
    }

    pub(super) fn of_io(object: Object, what: impl fmt::Display, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        let detail = (errno == 0).then(|| error.to_string());
        Self::of_errno(object, what, errno, detail)
    }

    /// A failure on our side: an answer that can't be read, or that doesn't come.
    pub(super) fn of_text(object: Object, what: impl fmt::Display, text: String) -> Self {
        Self::of_errno(object, what, 0, Some(text))
    }

    /// Whether the object was there already.
    pub fn is_exists(&self) -> bool {
        self.errno == libc::EEXIST
    }

    /// Whether the object, or the interface that it would belong to, isn't there: a delete has nothing left to do.
    pub fn is_not_found(&self) -> bool {
        ABSENT.contains(&(self.object, self.errno))
    }

    /// The answer alone, without the operation.
    pub fn answer(&self) -> String {
        let errno = (self.errno != 0).then(|| describe(self.errno));
        match (errno, &self.detail) {
            (Some(errno), Some(detail)) => format!("{errno} ({detail})"),
            (Some(errno), None) => errno,
            (None, Some(detail)) => detail.clone(),
            (None, None) => "failed".to_owned(),
        }
    }
}

/// Which errno says "absent", by object. Observed on Linux 6.18 by deleting what isn't there.
const ABSENT: [(Object, i32); 13] = [
    (Object::Link, libc::ENODEV),
    (Object::Addr, libc::EADDRNOTAVAIL),
    (Object::Addr, libc::ENODEV),
    (Object::Route, libc::ESRCH),
    (Object::Route, libc::ENODEV),
    // Looking a route up where none leads.
    (Object::Route, libc::ENETUNREACH),
    (Object::NextHop, libc::ENOENT),
    (Object::Rule, libc::ENOENT),
    (Object::Neigh, libc::ENOENT),
    (Object::Neigh, libc::ENODEV),
    // A device without a forwarding database of its own.
    (Object::Neigh, libc::EADDRNOTAVAIL),
    (Object::Netfilter, libc::ENOENT),
    (Object::Netfilter, libc::ESRCH),
];

/// The errno in words, without a capital: it follows a colon.
fn describe(errno: i32) -> String {
    let text = Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match chars.next() {
        // "RFS specific error" and "I/O error" keep their capitals.
        Some(first) if chars.as_str().starts_with(|c: char| c.is_lowercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.answer())
    }
}

impl std::error::Error for NetlinkError {}

impl From<&NetlinkError> for io::Error {
    /// Keeps the kernel's words; the errno survives as the error's kind.
    fn from(error: &NetlinkError) -> Self {
        let kind = if error.errno == 0 {
            io::ErrorKind::Other
        } else {
            Self::from_raw_os_error(error.errno).kind()
        };
        Self::new(kind, error.answer())
    }
}

impl From<NetlinkError> for KernelError {
    fn from(error: NetlinkError) -> Self {
        Self {
            source: (&error).into(),
            what: error.what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_a_sentence_with_the_kernels_words() {
        let mut error = NetlinkError::of_errno(
            Object::Route,
            "add route 10.1.2.0/24 dev flannel.1",
            libc::ENODEV,
            None,
        );
        assert_eq!(
            error.to_string(),
            "add route 10.1.2.0/24 dev flannel.1: no such device"
        );
        error.detail = Some("Nexthop has invalid gateway".to_owned());
        error.errno = libc::EHOSTUNREACH;
        assert_eq!(
            error.answer(),
            "no route to host (Nexthop has invalid gateway)"
        );
        assert_eq!(io::Error::from(&error).to_string(), error.answer());
    }

    #[test]
    fn absence_depends_on_the_object() {
        let error = |object, errno| NetlinkError::of_errno(object, "x", errno, None);
        assert!(error(Object::Route, libc::ESRCH).is_not_found());
        assert!(!error(Object::Link, libc::ESRCH).is_not_found());
        assert!(error(Object::Neigh, libc::ENOENT).is_not_found());
        assert!(!error(Object::Route, libc::ENOENT).is_not_found());
        assert!(error(Object::Addr, libc::EEXIST).is_exists());
    }
}
