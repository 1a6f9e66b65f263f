//! Questions to the kernel, and answers that belong to one generation of the packet filter.

use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError, Object};

/// The family of our own tables.
pub const INET: NetfilterProtoFamily = NetfilterProtoFamily::Inet;

/// The family of tables that see the frames of bridges.
pub const BRIDGE: NetfilterProtoFamily = NetfilterProtoFamily::Bridge;

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

/// Dumps, and gives what `pick` finds in the attributes of each message. Lists that may be long are read so: the message
/// types' own reader makes, for every element of a list, the text of an error that hardly ever happens, which holds the
/// whole list, and ten thousand elements take it seconds (netlink-packet-netfilter 0.4.0).
pub(crate) fn dump_raw<V>(
    socket: &mut Netfilter,
    what: &str,
    message: NetfilterMessage,
    generation: Option<u32>,
    mut pick: impl FnMut(&mut Vec<V>, &[u8]),
) -> Result<Vec<V>, NetlinkError> {
    let mut found = Found::default();
    let restart = |found: &mut Found<V>| *found = Found::default();
    socket.dump_raw(what, message, &mut found, restart, |found, payload| {
        // Family, version, and the lower half of the generation.
        if let Some(([_, _, upper, lower], attributes)) = payload.split_first_chunk() {
            found.torn |= !is_of(u16::from_be_bytes([*upper, *lower]), generation);
            pick(&mut found.all, attributes);
        }
    })?;
    if found.torn {
        return Err(torn(what));
    }
    Ok(found.all)
}

/// What a dump has given so far.
struct Found<V> {
    all: Vec<V>,
    torn: bool,
}

impl<V> Default for Found<V> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            torn: false,
        }
    }
}

/// A text without its closing zero byte.
pub fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// Whether a message is of this generation; its header has room for the number's lower half.
fn is_of(resource: u16, generation: Option<u32>) -> bool {
    generation.is_none_or(|generation| resource == (generation & 0xffff) as u16)
}
