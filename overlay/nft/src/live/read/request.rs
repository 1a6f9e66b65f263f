//! Questions to the kernel, and answers that belong to one generation of the packet filter.

use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError, Object};

use super::raw::Raw;

/// The family of our own tables.
pub const INET: NetfilterProtoFamily = NetfilterProtoFamily::Inet;

/// The family of iptables' tables.
pub fn proto(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    }
}

/// How often dumps are repeated that another program's transaction has torn apart.
const ATTEMPTS: u32 = 1000;

/// Repeats a reading until nothing has changed in its course.
pub fn consistent<T>(
    socket: &mut Netfilter,
    mut read: impl FnMut(&mut Netfilter, u32) -> Result<T, NetlinkError>,
) -> Result<T, NetlinkError> {
    let mut attempt = 0;
    loop {
        let generation = generation(socket)?;
        match read(socket, generation) {
            Err(error) if attempt < ATTEMPTS && (is_torn(&error) || error.is_not_found()) => {
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn is_torn(error: &NetlinkError) -> bool {
    error.errno == libc::EINTR
}

fn torn(what: &str) -> NetlinkError {
    NetlinkError {
        what: what.to_owned(),
        errno: libc::EINTR,
        detail: Some("the packet filter kept changing while it was read".to_owned()),
        object: Object::Netfilter,
    }
}

pub fn request(family: NetfilterProtoFamily, inner: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

pub fn generation(socket: &mut Netfilter) -> Result<u32, NetlinkError> {
    const WHAT: &str = "read the packet filter's generation";
    let inner = NfTablesMessage::GetGen(GenMessage {
        attributes: Vec::new(),
    });
    let answer = socket.get(WHAT, request(NetfilterProtoFamily::Unspec, inner))?;
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(message)) = answer.inner else {
        return Err(torn(WHAT));
    };
    let id = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            GenAttribute::Id(id) => Some(*id),
            _ => None,
        });
    id.ok_or_else(|| torn(WHAT))
}

/// Dumps, and checks that every message is of the generation.
pub fn dump<V>(
    socket: &mut Netfilter,
    what: &str,
    message: NetfilterMessage,
    generation: Option<u32>,
    mut pick: impl FnMut(NfTablesMessage) -> Option<V>,
) -> Result<Vec<V>, NetlinkError> {
    let mut same = true;
    let found = socket.dump(what, message, |message: NetfilterMessage| {
        same &= is_of(message.header.res_id, generation);
        match message.inner {
            NetfilterMessageInner::NfTables(inner) => pick(inner),
            _ => None,
        }
    })?;
    if same { Ok(found) } else { Err(torn(what)) }
}

/// Dumps, and passes each message's attributes on as bytes.
pub(crate) fn dump_raw(
    socket: &mut Netfilter,
    what: &str,
    message: NetfilterMessage,
    generation: Option<u32>,
    mut each: impl FnMut(&[u8]),
) -> Result<(), NetlinkError> {
    let answers = socket.dump(what, Raw::Request(message), |answer| match answer {
        Raw::Answer {
            resource,
            attributes,
        } => Some((resource, attributes)),
        Raw::Request(_) => None,
    })?;
    if !answers
        .iter()
        .all(|(resource, _)| is_of(*resource, generation))
    {
        return Err(torn(what));
    }
    answers.iter().for_each(|(_, attributes)| each(attributes));
    Ok(())
}

/// Whether a message is of this generation; its header has room for the number's lower half.
fn is_of(resource: u16, generation: Option<u32>) -> bool {
    generation.is_none_or(|generation| resource == (generation & 0xffff) as u16)
}
