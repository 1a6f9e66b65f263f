//! UDP flows that connection tracking remembers. It knows where a flow goes for as long as packets come, whatever the
//! rules say by now; the next packet of one that is forgotten meets the rules as they are.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage};
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};

use super::read::{attribute, dump_raw, proto};
use crate::ruleset::L4Proto;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const NESTED: u16 = 1 << 15;

/// A UDP flow, and what the kernel knows it by.
pub struct Flow {
    /// Where its first packet was sent to.
    pub dest: SocketAddr,
    /// Where its answers come from.
    pub answers_from: SocketAddr,
    /// Where its answers go to, as they come in.
    answers_to: SocketAddr,
    identity: Vec<DefaultNla>,
}

/// Forgets the UDP flows to this port, and those whose answers go there.
///
/// # Errors
/// When the kernel refuses, or has no interface to its connection tracking.
pub fn forget_port(socket: &mut Netfilter, port: u16) -> Result<(), KernelError> {
    for family in Family::BOTH {
        for flow in flows(socket, family, None)? {
            if [flow.dest, flow.answers_to]
                .map(|end| end.port())
                .contains(&port)
            {
                delete(socket, family, flow)?;
            }
        }
    }
    Ok(())
}

const GET: u8 = 1;
const DELETE: u8 = 2;

/// The message types' own attributes lose the mark that they are nested, which the kernel insists on in a filter.
fn message(family: Family, message_type: u8, attributes: Vec<DefaultNla>) -> NetfilterMessage {
    let inner = ConntrackMessage::Other {
        message_type,
        attributes,
    };
    NetfilterMessage::new(NetfilterHeader::new(proto(family), 0, 0), inner)
}

/// The UDP flows of a family, to one port if it is given. Kernels before 5.8 send all connections.
pub fn flows(
    socket: &mut Netfilter,
    family: Family,
    port: Option<u16>,
) -> Result<Vec<Flow>, NetlinkError> {
    let mut flows = dump_raw(
        socket,
        "list UDP flows",
        message(family, GET, filter(port)),
        None,
        |flows, attributes| flows.extend(flow(attributes)),
    )?;
    flows.retain(|flow| port.is_none_or(|port| port == flow.dest.port()));
    Ok(flows)
}

/// Asks for UDP, and for a destination port: an example, and which of its parts count.
fn filter(port: Option<u16>) -> Vec<DefaultNla> {
    const TUPLE_PROTO: u16 = 2;
    const PROTO_NUM: u16 = 1;
    const PROTO_DST_PORT: u16 = 3;
    const FILTER: u16 = 25;
    const FILTER_ORIGINAL: u16 = 1;
    const BY_NUMBER: u32 = 1 << 3;
    const BY_DST_PORT: u32 = 1 << 5;
    let mut example = nla(PROTO_NUM, &[L4Proto::Udp.number()]);
    let mut parts = BY_NUMBER;
    if let Some(port) = port {
        example.extend(nla(PROTO_DST_PORT, &port.to_be_bytes()));
        parts |= BY_DST_PORT;
    }
    let example = nla(TUPLE_PROTO | NESTED, &example);
    let parts = nla(FILTER_ORIGINAL, &parts.to_ne_bytes());
    vec![
        DefaultNla::new(TUPLE_ORIGINAL | NESTED, example),
        DefaultNla::new(FILTER | NESTED, parts),
    ]
}

fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).expect("an attribute of a few bytes");
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `None` for what is not UDP.
fn flow(attributes: &[u8]) -> Option<Flow> {
    let original = attribute(attributes, TUPLE_ORIGINAL)?;
    let reply = attribute(attributes, TUPLE_REPLY)?;
    let mut identity = vec![DefaultNla::new(TUPLE_ORIGINAL | NESTED, original.to_vec())];
    for kind in [ID, ZONE] {
        let value = attribute(attributes, kind);
        identity.extend(value.map(|value| DefaultNla::new(kind, value.to_vec())));
    }
    Some(Flow {
        dest: end(original, End::Dest)?,
        answers_from: end(reply, End::Source)?,
        answers_to: end(reply, End::Dest)?,
        identity,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Source,
    Dest,
}

/// One end of a tuple.
fn end(tuple: &[u8], end: End) -> Option<SocketAddr> {
    const TUPLE_IP: u16 = 1;
    const TUPLE_PROTO: u16 = 2;
    const PROTO_NUM: u16 = 1;
    let (v4, v6, port) = match end {
        End::Source => (1, 3, 2),
        End::Dest => (2, 4, 3),
    };
    let (ip, proto) = (attribute(tuple, TUPLE_IP)?, attribute(tuple, TUPLE_PROTO)?);
    if attribute(proto, PROTO_NUM)? != [L4Proto::Udp.number()] {
        return None;
    }
    let addr: IpAddr = match (attribute(ip, v4), attribute(ip, v6)) {
        (Some(addr), _) => <[u8; 4]>::try_from(addr).ok()?.into(),
        (None, Some(addr)) => <[u8; 16]>::try_from(addr).ok()?.into(),
        (None, None) => return None,
    };
    let port = attribute(proto, port)?.try_into().ok()?;
    Some(SocketAddr::new(addr, u16::from_be_bytes(port)))
}

/// Whether it was still there.
pub fn delete(socket: &mut Netfilter, family: Family, flow: Flow) -> Result<bool, NetlinkError> {
    let what = format!("forget the UDP flow to {}", flow.dest);
    match socket.change(what, message(family, DELETE, flow.identity), 0) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
