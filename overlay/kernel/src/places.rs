//! Bridges and their ports, followed by notifications, to notice damage of attachments. All bridges of the host are
//! followed; the records tell which of them belong to attachments. Pure.

mod routed;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_attach::live::discarded::is_discarded;
use tweed_model::Mac;
use tweed_netlink::route_messages::link::BridgeVlanInfo;
use tweed_netlink::{LinkInfo, PortNotice, addr_info, link_info_of, port_notice};

/// Bridges and ports by index.
#[derive(Debug, Default)]
pub(crate) struct Places {
    bridges: HashMap<u32, Bridge>,
    /// Ends of veth pairs that are up and in a bridge.
    ports: HashMap<u32, Port>,
    /// Interfaces that have VLANs' gateways, as the last look found them.
    holders: HashMap<u32, (Option<Mac>, bool)>,
    routed: routed::Routed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bridge {
    mac: Option<Mac>,
    mtu: u32,
    up: bool,
    promisc: bool,
    vlan_filtering: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    bridge: u32,
    hairpin: bool,
    isolated: bool,
    /// None before its bridge has reported them.
    vlans: Option<Vec<BridgeVlanInfo>>,
}

impl Places {
    /// The bridges and ports among all interfaces from now on.
    pub(crate) fn renew(&mut self, links: &[LinkInfo], is_holder: impl Fn(&str) -> bool) {
        let there: HashSet<u32> = links.iter().map(|link| link.index).collect();
        self.bridges.retain(|index, _| there.contains(index));
        self.ports.retain(|index, _| there.contains(index));
        self.routed.retain(&there);
        for link in links {
            self.link(link);
        }
        let holders = links.iter().filter(|link| is_holder(&link.name));
        self.holders = holders
            .map(|link| (link.index, (link.mac, link.up)))
            .collect();
    }

    /// Takes a notification. Returns whether something was changed or removed. A new object is no damage: the plugin that
    /// makes it completes it.
    pub(crate) fn judge(&mut self, message: &Message) -> bool {
        match message {
            Message::NewLink(link) if is_plain(link) => {
                link_info_of(link).is_some_and(|info| self.link(&info))
            }
            Message::NewLink(link) => {
                port_notice(link).is_some_and(|notice| self.port(link.header.index, notice))
            }
            Message::DelLink(link) if is_plain(link) => {
                let index = link.header.index;
                // Only the container's runtime can make a deleted port again.
                self.ports.remove(&index);
                self.routed.forget(index);
                let holder = self.holders.remove(&index);
                self.bridges.remove(&index).is_some() || holder.is_some()
            }
            Message::DelAddress(addr) => self.loses(addr),
            _ => false,
        }
    }

    /// The same for a notification that is read from its bytes: about a route or a neighbour.
    pub(crate) fn judge_raw(&mut self, kind: u16, payload: &[u8]) -> bool {
        self.routed.judge(kind, payload)
    }

    /// Takes over what a look has found of routes to containers, and neighbours.
    pub(crate) fn know(&mut self, routes: Vec<(IpNet, u32)>, neighs: Vec<((u32, IpAddr), Mac)>) {
        self.routed.know(routes, neighs);
    }

    fn link(&mut self, info: &LinkInfo) -> bool {
        // Each look removes them, and then forgets them.
        let waits = is_discarded(info);
        waits | self.follow(info)
    }

    fn follow(&mut self, info: &LinkInfo) -> bool {
        if let Some(holder) = self.holders.get_mut(&info.index) {
            let now = (info.mac, info.up);
            return std::mem::replace(holder, now) != now;
        }
        match info.kind.as_str() {
            "bridge" => {
                let now = Bridge {
                    mac: info.mac,
                    mtu: info.mtu,
                    up: info.up,
                    promisc: info.promisc,
                    vlan_filtering: info.bridge.is_some_and(|bridge| bridge.vlan_filtering),
                };
                let before = self.bridges.insert(info.index, now);
                before.is_some_and(|before| before != now)
            }
            "veth" => {
                let leaves = self.veth(info);
                self.routed.link(info) || leaves
            }
            _ => false,
        }
    }

    fn veth(&mut self, info: &LinkInfo) -> bool {
        let Some(bridge) = info.master.filter(|_| info.up) else {
            return self.ports.remove(&info.index).is_some();
        };
        let before = self.ports.remove(&info.index);
        let stays = before.as_ref().filter(|before| before.bridge == bridge);
        let now = Port {
            bridge,
            hairpin: info.port.is_some_and(|port| port.hairpin),
            isolated: info.port.is_some_and(|port| port.isolated),
            vlans: stays.and_then(|before| before.vlans.clone()),
        };
        let news = before.is_some_and(|before| before != now);
        self.ports.insert(info.index, now);
        news
    }

    /// Takes what a bridge reports of a port. VLANs that were not known may have been others.
    fn port(&mut self, index: u32, notice: PortNotice) -> bool {
        let Some(port) = self.ports.get_mut(&index) else {
            return false;
        };
        let bridge = self.bridges.get(&port.bridge);
        let by_vlan = bridge.is_some_and(|bridge| bridge.vlan_filtering);
        let now = Port {
            bridge: port.bridge,
            hairpin: notice.hairpin,
            isolated: notice.isolated,
            vlans: by_vlan.then_some(notice.vlans),
        };
        let news = *port != now;
        *port = now;
        news
    }

    fn loses(&self, message: &AddressMessage) -> bool {
        let global = addr_info(message).filter(|addr| addr.scope == 0);
        global.is_some_and(|addr| {
            self.bridges.contains_key(&addr.index) || self.holders.contains_key(&addr.index)
        })
    }
}

/// Bridges report their ports in messages of their own family, which say nothing of the device.
fn is_plain(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use netlink_packet_route::link::{
        AfSpecBridge, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoKind, LinkAttribute,
        LinkFlags, LinkInfo as Info, LinkProtoInfoBridge,
    };

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

    /// What the bridge says of the port, with this in `IFLA_PROTINFO`.
    fn notice(hairpin: bool, vlans: &[u16]) -> Message {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.header.interface_family = AddressFamily::Bridge;
        let hairpin = LinkProtoInfoBridge::Other(DefaultNla::new(4, vec![u8::from(hairpin)]));
        let vlans = vlans.iter().map(|vid| {
            let flags = BridgeVlanInfoFlags::empty();
            AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid: *vid })
        });
        link.attributes = vec![
            LinkAttribute::ProtoInfoBridge(vec![hairpin]),
            LinkAttribute::AfSpecBridge(vlans.collect()),
        ];
        Message::NewLink(link)
    }

    #[test]
    fn switches_and_vlans_of_a_port_that_change_are_news() {
        let mut places = Places::default();
        assert!(!places.judge(&notice(true, &[])), "it is no port yet");
        for message in [bridge(true, 1450), port(true, Some(3)), notice(false, &[1])] {
            assert!(!places.judge(&message));
        }
        assert!(places.judge(&notice(true, &[1])));
        assert!(
            !places.judge(&notice(true, &[2])),
            "the bridge does not filter"
        );
        let filtering = InfoBridge::VlanFiltering(true);
        let filtering = Info::Data(InfoData::Bridge(vec![filtering]));
        let Message::NewLink(mut link) = bridge(true, 1450) else {
            unreachable!()
        };
        link.attributes.iter_mut().for_each(|attribute| {
            if let LinkAttribute::LinkInfo(info) = attribute {
                info.push(filtering.clone());
            }
        });
        assert!(places.judge(&Message::NewLink(link)));
        assert!(places.judge(&notice(true, &[2])), "others than before?");
        assert!(!places.judge(&notice(true, &[2])));
        assert!(places.judge(&notice(true, &[2, 3])));
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
