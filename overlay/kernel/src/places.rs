//! Bridges and their ports, followed by notifications, to notice damage of attachments. All bridges of the host are
//! followed; the records tell which of them belong to attachments. Pure.

use std::collections::HashMap;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_model::Mac;
use tweed_netlink::{LinkInfo, addr_info, link_info};

/// Bridges and ports by index.
#[derive(Debug, Default)]
pub(crate) struct Places {
    bridges: HashMap<u32, Bridge>,
    /// Ends of veth pairs that are up and in a bridge, and which one.
    ports: HashMap<u32, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bridge {
    mac: Option<Mac>,
    mtu: u32,
    up: bool,
    promisc: bool,
}

impl Places {
    /// The bridges and ports among all interfaces.
    pub(crate) fn of(links: &[LinkInfo]) -> Self {
        let mut places = Self::default();
        for link in links {
            places.link(link);
        }
        places
    }

    /// Takes a notification. Returns whether something was changed or removed. A new object is no damage: the plugin that
    /// makes it completes it.
    pub(crate) fn judge(&mut self, message: &Message) -> bool {
        match message {
            Message::NewLink(link) if is_plain(link) => self.link(&link_info(link.clone())),
            Message::DelLink(link) if is_plain(link) => {
                // Only the container's runtime can make a deleted port again.
                self.ports.remove(&link.header.index);
                self.bridges.remove(&link.header.index).is_some()
            }
            Message::DelAddress(addr) => self.loses(addr),
            _ => false,
        }
    }

    fn link(&mut self, info: &LinkInfo) -> bool {
        match info.kind.as_str() {
            "bridge" => {
                let now = Bridge {
                    mac: info.mac,
                    mtu: info.mtu,
                    up: info.up,
                    promisc: info.promisc,
                };
                let before = self.bridges.insert(info.index, now);
                before.is_some_and(|before| before != now)
            }
            "veth" => match info.master.filter(|_| info.up) {
                Some(bridge) => {
                    let before = self.ports.insert(info.index, bridge);
                    before.is_some_and(|before| before != bridge)
                }
                None => self.ports.remove(&info.index).is_some(),
            },
            _ => false,
        }
    }

    fn loses(&self, message: &AddressMessage) -> bool {
        let global = addr_info(message).filter(|addr| addr.scope == 0);
        global.is_some_and(|addr| self.bridges.contains_key(&addr.index))
    }
}

/// Bridges tell about their ports in messages of their own family, which say nothing of the device.
fn is_plain(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo as Info};

    use super::*;

    fn message(index: u32, kind: InfoKind, up: bool, more: Vec<LinkAttribute>) -> Message {
        let mut link = LinkMessage::default();
        link.header.index = index;
        if up {
            link.header.flags = LinkFlags::Up;
        }
        link.attributes = more;
        let kind = LinkAttribute::LinkInfo(vec![Info::Kind(kind)]);
        link.attributes.push(kind);
        Message::NewLink(link)
    }

    fn port(up: bool, master: Option<u32>) -> Message {
        let master = master.map(LinkAttribute::Controller);
        message(7, InfoKind::Veth, up, master.into_iter().collect())
    }

    fn bridge(up: bool, mtu: u32) -> Message {
        message(3, InfoKind::Bridge, up, vec![LinkAttribute::Mtu(mtu)])
    }

    #[test]
    fn a_port_that_comes_is_no_news_and_one_that_leaves_or_goes_down_is() {
        for leaves in [port(true, None), port(false, Some(3)), port(true, Some(4))] {
            let mut places = Places::default();
            for comes in [port(false, None), port(true, None), port(true, Some(3))] {
                assert!(!places.judge(&comes));
            }
            assert!(!places.judge(&port(true, Some(3))), "nothing has changed");
            assert!(places.judge(&leaves));
        }
    }

    #[test]
    fn a_bridge_that_changes_or_goes_is_news_and_a_new_one_is_not() {
        let mut places = Places::default();
        assert!(!places.judge(&bridge(true, 1450)));
        assert!(!places.judge(&bridge(true, 1450)));
        assert!(places.judge(&bridge(true, 1300)));
        assert!(places.judge(&bridge(false, 1300)));
        let Message::NewLink(link) = bridge(false, 1300) else {
            unreachable!()
        };
        assert!(places.judge(&Message::DelLink(link.clone())));
        assert!(!places.judge(&Message::DelLink(link)));
    }
}
