//! Nexthop objects (Linux 5.3): what `ip nexthop` shows, by which routes lead. Their messages are ours to write: the
//! library has none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::attributes::{attributes, ip_addr, number};
use super::error::{NetlinkError, Object};
use super::raw::Raw;
use super::{Dev, Netlink};

/// `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`, `RTM_GETNEXTHOP`.
pub const NEW_NEXTHOP: u16 = 104;
pub const DEL_NEXTHOP: u16 = 105;
const GET_NEXTHOP: u16 = 106;
/// `struct nhmsg`: family, scope, protocol, a reserved byte, and the flags.
const HEADER: usize = 8;
const PROTOCOL: usize = 2;
/// `NHA_ID`, `NHA_OIF`, `NHA_GATEWAY`. Any other attribute makes it another thing than one gateway on one interface.
const ID: u16 = 1;
const OIF: u16 = 5;
const GATEWAY: u16 = 6;
/// `RTNH_F_ONLINK`.
const ONLINK: u32 = 4;
/// `AF_INET`.
const IPV4: u8 = 2;

/// An object to add: an IPv4 gateway on an interface.
#[derive(Clone, Copy, Debug)]
pub struct NextHopSpec<'a> {
    /// Its number, 1 and up.
    pub id: u32,
    /// IPv4 address of the next host.
    pub gateway: Ipv4Addr,
    /// Interface.
    pub dev: Dev<'a>,
    /// The gateway counts as reachable though no address on the interface says so.
    pub onlink: bool,
    /// Routing protocol number.
    pub protocol: u8,
}

/// An object that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHopInfo {
    /// Its number.
    pub id: u32,
    /// Routing protocol number.
    pub protocol: u8,
    /// Gateway; none of a group, a blackhole, or an interface alone.
    pub gateway: Option<IpAddr>,
    /// Index of the interface.
    pub oif: Option<u32>,
    /// The gateway counts as reachable.
    pub onlink: bool,
}

impl Netlink {
    /// Whether the kernel has nexthop objects: it is asked for one, whichever that is.
    pub fn has_nexthops(&mut self) -> bool {
        self.nexthop(u32::MAX).is_ok()
    }

    /// The object of a number; none if there is no such object.
    ///
    /// # Errors
    /// The kernel's refusal, as of one that has no such thing.
    pub fn nexthop(&mut self, id: u32) -> Result<Option<NextHopInfo>, NetlinkError> {
        let mut request = Raw::of(GET_NEXTHOP, &[0; HEADER]);
        request.put(ID, &id.to_ne_bytes());
        let what = format_args!("look up nexthop id {id}");
        match self
            .transport
            .get_raw(Object::NextHop, what, request, |_, payload| {
                Ok(nexthop_info(payload))
            }) {
            Ok(info) => Ok(info),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects; none where the kernel has no such thing, or keeps it from us.
    ///
    /// # Errors
    /// The kernel's refusal for another reason.
    pub fn nexthops(&mut self) -> Result<Vec<NextHopInfo>, NetlinkError> {
        let mut found = Vec::new();
        let dump = self.transport.dump_raw(
            Object::NextHop,
            "list nexthops",
            Raw::of(GET_NEXTHOP, &[0; HEADER]),
            &mut found,
            Vec::clear,
            |found, _, payload| found.extend(nexthop_info(payload)),
        );
        match dump {
            Err(error) if NONE.contains(&error.errno) => Ok(Vec::new()),
            result => result.map(|()| found),
        }
    }

    /// Adds an object. One that has its number is never replaced.
    ///
    /// # Errors
    /// `EEXIST` when the number is taken.
    pub fn add_nexthop(&mut self, spec: &NextHopSpec<'_>) -> Result<(), NetlinkError> {
        let mut request = Raw::of(NEW_NEXTHOP, &[0; HEADER]);
        request.bytes[0] = IPV4;
        request.bytes[PROTOCOL] = spec.protocol;
        if spec.onlink {
            request.bytes[4..HEADER].copy_from_slice(&ONLINK.to_ne_bytes());
        }
        request.put(ID, &spec.id.to_ne_bytes());
        request.put(OIF, &spec.dev.index.to_ne_bytes());
        request.put(GATEWAY, &spec.gateway.octets());
        let what = format_args!("add {spec}");
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.transport.change(Object::NextHop, what, request, flags)
    }

    /// Deletes an object, and with it the routes that lead by it.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when there is none of this number.
    pub fn del_nexthop(&mut self, id: u32) -> Result<(), NetlinkError> {
        let mut request = Raw::of(DEL_NEXTHOP, &[0; HEADER]);
        request.put(ID, &id.to_ne_bytes());
        let what = format_args!("delete nexthop id {id}");
        self.transport.change(Object::NextHop, what, request, 0)
    }
}

/// The answer of a kernel without nexthop objects, or of one that denies them to us.
const NONE: [i32; 3] = [libc::EOPNOTSUPP, libc::EPERM, libc::EACCES];

/// Reads the payload of a message about an object: an answer, or a notification.
pub fn nexthop_info(payload: &[u8]) -> Option<NextHopInfo> {
    let (header, rest) = payload.split_at_checked(HEADER)?;
    let flags = u32::from_ne_bytes(header[4..].try_into().ok()?);
    let mut id = None;
    let (mut gateway, mut oif) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            ID => id = number(value),
            OIF => oif = number(value),
            GATEWAY => gateway = ip_addr(value),
            _ => {}
        }
    }
    Some(NextHopInfo {
        id: id?,
        protocol: header[PROTOCOL],
        gateway,
        oif,
        onlink: flags & ONLINK != 0,
    })
}

impl fmt::Display for NextHopSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, gateway, dev) = (self.id, self.gateway, self.dev.name);
        write!(f, "nexthop id {id} via {gateway} dev {dev}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ip nexthop add id 7 via 10.244.2.0 dev <9> onlink proto 84`, as the kernel tells of it.
    fn told() -> Vec<u8> {
        let mut message = Raw::of(NEW_NEXTHOP, &[0; HEADER]);
        message.bytes[..4].copy_from_slice(&[IPV4, 253, 84, 0]);
        message.bytes[4..].copy_from_slice(&ONLINK.to_ne_bytes());
        message.put(ID, &7_u32.to_ne_bytes());
        message.put(GATEWAY, &[10, 244, 2, 0]);
        message.put(OIF, &9_u32.to_ne_bytes());
        message.bytes
    }

    #[test]
    fn a_message_of_the_kernel_is_read() {
        let expected = NextHopInfo {
            id: 7,
            protocol: 84,
            gateway: Some([10, 244, 2, 0].into()),
            oif: Some(9),
            onlink: true,
        };
        assert_eq!(nexthop_info(&told()), Some(expected));
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_is_read_without_a_panic() {
        let whole = told();
        for length in 0..whole.len() {
            let _ = nexthop_info(&whole[..length]);
            let mut wrong = whole.clone();
            wrong[length] ^= 0xff;
            let _ = nexthop_info(&wrong);
        }
        assert_eq!(nexthop_info(&whole[..HEADER]), None, "it has no number");
    }
}
