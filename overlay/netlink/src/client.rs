//! The client: one socket, one request at a time. Its verbs stand in the files of the objects that they are about.

use std::fmt::Display;
use std::io;

use netlink_packet_core::Parseable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::error::{NetlinkError, Object};
use super::transport::Transport;

/// An rtnetlink client.
#[derive(Debug)]
pub struct Netlink {
    pub(super) transport: Transport,
}

/// An interface: what the kernel wants to know (its index) and what an error message wants to say (its name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dev<'a> {
    /// The kernel's number for it, in the namespace of the socket.
    pub index: u32,
    /// Its name, for messages only.
    pub name: &'a str,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread. It stays there, whichever thread uses it.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn open() -> io::Result<Self> {
        Transport::open(NETLINK_ROUTE).map(|transport| Self { transport })
    }

    /// The socket's port number: `nlmsg_pid` of the notifications that its requests cause.
    pub fn port(&self) -> u32 {
        self.transport.port()
    }

    /// How many dumps had to be repeated so far because the kernel marked them interrupted.
    pub fn interrupted_dumps(&self) -> u64 {
        self.transport.interrupted()
    }

    /// Sends any request and waits for its acknowledgement. `flags` are `NLM_F_CREATE` and its like.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn change(
        &mut self,
        object: Object,
        what: impl Display,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.transport.change(object, what, message, flags)
    }

    /// Any dump of one type of messages: the list of what `pick` finds in those of a kind; repeated while the kernel marks
    /// it interrupted. The library's reader of messages of all types is 200 kB of program.
    pub(super) fn list<M: Parseable<[u8]>, T>(
        &mut self,
        object: Object,
        what: impl Display,
        message: RouteNetlinkMessage,
        kind: u16,
        pick: impl Fn(M) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.dump_raw(object, what, message, kind, |payload| {
            match M::parse(payload) {
                Ok(message) => pick(message),
                Err(error) => {
                    tracing::debug!(kind, %error, "skipped a netlink message");
                    None
                }
            }
        })
    }

    /// Any dump whose answers are read as they are: the list of what `read` finds in the payloads of messages of a kind.
    pub(super) fn dump_raw<T>(
        &mut self,
        object: Object,
        what: impl Display,
        message: RouteNetlinkMessage,
        kind: u16,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut found = Vec::new();
        self.transport.dump_raw(
            object,
            what,
            message,
            &mut found,
            Vec::clear,
            |found, header, payload| {
                if header.message_type == kind {
                    found.extend(read(payload));
                }
            },
        )?;
        Ok(found)
    }
}
