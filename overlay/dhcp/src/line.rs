//! One interface in a container's namespace: looked at once, and open for packets as long as an answer may come. No file
//! or socket of ours is open in the namespace otherwise: it would outlive its container.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ipnet::Ipv4Net;
use tweed_netlink::netns::{Netns, NetnsError};
use tweed_netlink::{LinkChange, LinkInfo, Netlink, NetlinkError};

use crate::identity::{Destination, Outgoing};
use crate::message::Message;
use crate::packet::{CLIENT_PORT, SERVER_PORT};
use crate::record::{Place, prefixed};
use crate::socket::PacketSocket;

/// Why an interface can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// It will not come back: the container is gone.
    #[error("{0}")]
    Gone(String),
    #[error("{0}")]
    Failed(String),
}

/// An interface that packets can be sent by.
#[derive(Debug)]
pub(crate) struct Line {
    packets: PacketSocket,
    /// For what the kernel routes. While it is open, the kernel answers no server that nobody listens.
    routed: Option<UdpSocket>,
}

impl From<NetnsError> for LineError {
    fn from(error: NetnsError) -> Self {
        match error.is_gone() {
            true => Self::Gone(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

impl From<NetlinkError> for LineError {
    fn from(error: NetlinkError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Looks at an interface by its name, and sets it up: without that nothing can be sent.
///
/// # Errors
/// When namespace or interface are not there, or the interface is not Ethernet.
pub(crate) fn look(prefix: &str, netns: &Path, name: &str) -> Result<Place, LineError> {
    let path = prefixed(prefix, netns);
    let inside = Netns::open(&path)?;
    let found = fs::metadata(path)?;
    let link = inside.run(|| {
        let mut netlink = Netlink::open()?;
        let link = netlink.link(name)?;
        let link = link.ok_or_else(|| {
            LineError::Gone(format!("there is no interface {name} in the container"))
        })?;
        set_up(&mut netlink, &link, true)?;
        Ok::<LinkInfo, LineError>(link)
    })??;
    let hardware = link.mac.filter(tweed_model::Mac::is_unicast);
    let hardware = hardware
        .ok_or_else(|| LineError::Failed(format!("interface {name} has no Ethernet address")))?;
    Ok(Place {
        netns: netns.to_owned(),
        id: (found.dev(), found.ino()),
        index: link.index,
        hardware,
        // All of one parent have its Ethernet address, and are told from each other by their IP address.
        broadcast: link.kind == "ipvlan",
    })
}

fn set_up(netlink: &mut Netlink, link: &LinkInfo, up: bool) -> Result<(), NetlinkError> {
    let change = LinkChange {
        up: Some(up),
        ..LinkChange::default()
    };
    match link.up == up {
        true => Ok(()),
        false => netlink.set_link(link.dev(), &change),
    }
}

/// Enters the namespace of a place, if it is still the same.
fn enter<T: Send>(
    prefix: &str,
    place: &Place,
    visit: impl FnOnce(&mut Netlink, LinkInfo) -> Result<T, LineError> + Send,
) -> Result<T, LineError> {
    if !place.is_there(prefix) {
        return Err(LineError::Gone("its network namespace is gone".into()));
    }
    let inside = Netns::open(prefixed(prefix, &place.netns))?;
    inside.run(|| {
        let mut netlink = Netlink::open()?;
        let link = netlink.link_by_index(place.index)?;
        let link = link.ok_or_else(|| LineError::Gone("its interface is gone".into()))?;
        visit(&mut netlink, link)
    })?
}

/// Sets an interface down whose address is no longer its own.
///
/// # Errors
/// When it is gone, or the kernel refuses.
pub(crate) fn set_down(prefix: &str, place: &Place) -> Result<(), LineError> {
    enter(prefix, place, |netlink, link| {
        Ok(set_up(netlink, &link, false)?)
    })
}

impl Line {
    /// Opens an interface; with the client's address, if it has one, for what the kernel routes.
    ///
    /// # Errors
    /// When it is gone, or the kernel refuses.
    pub(crate) fn open(
        prefix: &str,
        place: &Place,
        own: Option<Ipv4Addr>,
    ) -> Result<Self, LineError> {
        enter(prefix, place, |_, link| {
            Ok(Self {
                packets: PacketSocket::open(link.index)?,
                // The container may have another address by now; then packets go to everybody.
                routed: own.and_then(|own| routed(own).ok()),
            })
        })
    }

    /// Sends a message where it is to go.
    ///
    /// # Errors
    /// When the interface is down or gone.
    pub(crate) fn send(&self, outgoing: &Outgoing) -> io::Result<()> {
        let bytes = outgoing.message.encode();
        match (outgoing.to, &self.routed) {
            (Destination::Server { to, .. }, Some(routed)) => {
                let to = SocketAddrV4::new(to, SERVER_PORT);
                routed.send_to(&bytes, to).map(drop)
            }
            (Destination::Server { from, to }, None) => self.packets.send(from, to, &bytes),
            (Destination::Link, _) => {
                let from = outgoing.message.ciaddr;
                self.packets.send(from, Ipv4Addr::BROADCAST, &bytes)
            }
        }
    }

    /// Sends the last message before the interface goes. The kernel may have to ask first where a server on the link is,
    /// and nobody waits for that, so it goes to everybody; what is behind a router goes through that.
    ///
    /// # Errors
    /// As [`Line::send`].
    pub(crate) fn send_last(&self, outgoing: &Outgoing, net: Ipv4Net) -> io::Result<()> {
        match outgoing.to {
            Destination::Server { from, to } if net.contains(&to) => {
                self.packets.send(from, to, &outgoing.message.encode())
            }
            _ => self.send(outgoing),
        }
    }

    /// The next message of a server; `None` when there is none.
    ///
    /// # Errors
    /// When the interface is down or gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        self.packets.receive()
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

fn routed(own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(own, CLIENT_PORT))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
