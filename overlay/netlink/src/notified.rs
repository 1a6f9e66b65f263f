//! Notifications about interfaces and addresses. The library's reader of all kinds of messages is 200 kB of program.

use netlink_packet_core::Parseable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;

use super::addr::NEW_ADDR;
use super::info::NEW_LINK;

/// `RTM_DELLINK`, `RTM_DELADDR`.
const DEL_LINK: u16 = NEW_LINK + 1;
const DEL_ADDR: u16 = NEW_ADDR + 1;

/// The payload of a message of this kind, where it is about an interface or an address and can be read.
pub fn link_or_address(kind: u16, payload: &[u8]) -> Option<RouteNetlinkMessage> {
    let link = || LinkMessage::parse(payload).ok();
    let address = || AddressMessage::parse(payload).ok();
    match kind {
        NEW_LINK => link().map(RouteNetlinkMessage::NewLink),
        DEL_LINK => link().map(RouteNetlinkMessage::DelLink),
        NEW_ADDR => address().map(RouteNetlinkMessage::NewAddress),
        DEL_ADDR => address().map(RouteNetlinkMessage::DelAddress),
        _ => None,
    }
}
