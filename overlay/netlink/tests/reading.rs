//! Routes and neighbours are read from the bytes. What the library's message types say of the same bytes is the measure.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use tweed_model::Mac;
use tweed_netlink::core::{NetlinkDeserializable, NetlinkHeader};
use tweed_netlink::netns::isolated;
use tweed_netlink::route_messages::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use tweed_netlink::route_messages::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia,
};
use tweed_netlink::route_messages::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_netlink::{
    FdbInfo, NEW_NEIGH, NEW_ROUTE, NeighInfo, Object, RouteInfo, RouteKind, Transport, fdb_info,
    is_forwarding, lab, neigh_info, route_info,
};

const BRIDGE: u8 = 7;

/// The message as the library reads it; none if it refuses it.
fn message(kind: u16, payload: &[u8]) -> Option<Message> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    Message::deserialize(&header, payload).ok()
}

fn agrees_on_route(payload: &[u8]) {
    let ours = route_info(payload);
    if let Some(Message::NewRoute(message)) = message(NEW_ROUTE, payload) {
        assert_eq!(ours, route_of(&message), "{message:?}");
    }
}

fn agrees_on_neighbour(payload: &[u8]) {
    let (neigh, fdb) = (neigh_info(payload), fdb_info(payload));
    let Some(Message::NewNeighbour(message)) = message(NEW_NEIGH, payload) else {
        return;
    };
    let forwarding = message.header.family == AddressFamily::Bridge;
    assert_eq!(forwarding, is_forwarding(payload));
    match forwarding {
        true => assert_eq!(fdb, fdb_of(&message), "{message:?}"),
        false => assert_eq!(neigh, neigh_of(&message), "{message:?}"),
    }
}

fn route_of(message: &RouteMessage) -> Option<RouteInfo> {
    let header = &message.header;
    let mut dst: IpAddr = match header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let mut info = RouteInfo {
        dst: dst.into(),
        kind: match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::BlackHole => RouteKind::Blackhole,
            other => RouteKind::Other(other.into()),
        },
        gateway: None,
        oif: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        nexthop: None,
        metric: 0,
        table: header.table.into(),
        protocol: header.protocol.into(),
        scope: header.scope.into(),
        tos: header.tos,
        src: None,
        multipath: false,
        hops: Vec::new(),
    };
    let addr = |addr: &RouteAddress| match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::from(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::from(*addr)),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => dst = addr(to)?,
            RouteAttribute::Gateway(to) => info.gateway = addr(to),
            RouteAttribute::Via(RouteVia::Inet(to)) => info.gateway = Some((*to).into()),
            RouteAttribute::Via(RouteVia::Inet6(to)) => info.gateway = Some((*to).into()),
            RouteAttribute::Oif(index) => info.oif = Some(*index),
            RouteAttribute::NhId(id) => info.nexthop = Some(*id),
            RouteAttribute::Priority(metric) => info.metric = *metric,
            RouteAttribute::Table(table) => info.table = *table,
            RouteAttribute::PrefSource(from) => info.src = addr(from),
            RouteAttribute::MultiPath(hops) => {
                info.multipath = true;
                info.hops = hops.iter().map(|hop| hop.interface_index).collect();
            }
            _ => {}
        }
    }
    info.dst = IpNet::new(dst, header.destination_prefix_length).ok()?;
    Some(info)
}

fn is_permanent(message: &NeighbourMessage) -> bool {
    u16::from(message.header.state) & 0x80 != 0
}

fn neigh_of(message: &NeighbourMessage) -> Option<NeighInfo> {
    let (mut to, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(dst) => to = neighbour(dst),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes[..].try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some(NeighInfo {
        index: message.header.ifindex,
        addr: to?,
        mac,
        permanent: is_permanent(message) && !message.header.flags.contains(NeighbourFlags::Proxy),
    })
}

fn fdb_of(message: &NeighbourMessage) -> Option<FdbInfo> {
    let (mut mac, mut dst, mut foreign) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes[..].try_into().ok().map(Mac),
            NeighbourAttribute::Destination(to) => dst = neighbour(to),
            NeighbourAttribute::Port(_)
            | NeighbourAttribute::Vni(_)
            | NeighbourAttribute::IfIndex(_) => foreign = true,
            _ => {}
        }
    }
    Some(FdbInfo {
        index: message.header.ifindex,
        mac: mac?,
        dst,
        permanent: is_permanent(message) && message.header.flags.contains(NeighbourFlags::Own),
        foreign,
    })
}

fn neighbour(addr: &NeighbourAddress) -> Option<IpAddr> {
    match addr {
        NeighbourAddress::Inet(addr) => Some((*addr).into()),
        NeighbourAddress::Inet6(addr) => Some((*addr).into()),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(&bytes[..]).ok().map(IpAddr::from),
        },
        _ => None,
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A value as long as those of the kernel are, more often than not.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let hop = prop::collection::vec(any::<u8>(), 6).prop_map(|rest| [&[8, 0], &rest[..]].concat());
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 4),
        4 => prop::collection::vec(any::<u8>(), 16),
        2 => prop::collection::vec(any::<u8>(), 6),
        1 => prop::collection::vec(any::<u8>(), 16).prop_map(|to| [&[10, 0], &to[..]].concat()),
        1 => prop::collection::vec(hop, 1..4).prop_map(|hops| hops.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn payload(kinds: &'static [u16], families: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let family = prop::sample::select(families);
    let header = (family, prop::array::uniform11(any::<u8>()), 0..=128_u8);
    let attributes = prop::collection::vec((prop::sample::select(kinds), value()), 0..6);
    (header, attributes).prop_map(|((family, rest, length), attributes)| {
        let mut bytes = vec![family];
        bytes.extend(rest);
        // In a route's header this is the length of the prefix.
        bytes[1] = length % 40;
        for (kind, value) in attributes {
            put(&mut bytes, kind, &value);
        }
        bytes
    })
}

const ROUTE_KINDS: &[u16] = &[1, 2, 4, 5, 6, 7, 8, 9, 12, 15, 18, 30, 0x8009, 99];
const NEIGH_KINDS: &[u16] = &[1, 2, 4, 6, 7, 8, 9, 13];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn routes_are_read_as_the_library_reads_them(payload in payload(ROUTE_KINDS, &[2, 10, 28])) {
        agrees_on_route(&payload);
    }

    #[test]
    fn neighbours_are_read_as_the_library_reads_them(
        payload in payload(NEIGH_KINDS, &[2, 10, BRIDGE])
    ) {
        agrees_on_neighbour(&payload);
    }

    #[test]
    fn bytes_cut_or_changed_anywhere_are_read_without_a_panic(
        payload in payload(ROUTE_KINDS, &[2, 10, BRIDGE]),
        (at, with) in any::<(prop::sample::Index, u8)>()
    ) {
        let mut wrong = payload.clone();
        let at = at.index(wrong.len());
        wrong[at] = with;
        for bytes in [&payload[..at], &wrong] {
            let _ = (route_info(bytes), neigh_info(bytes), fdb_info(bytes));
        }
    }
}

/// What a dump of the kernel consists of.
fn dump(request: Message, kind: u16) -> Vec<Vec<u8>> {
    const NETLINK_ROUTE: isize = 0;
    let mut transport = Transport::open(NETLINK_ROUTE).unwrap();
    let mut found = Vec::new();
    transport
        .dump_raw(
            Object::Route,
            "list",
            request,
            &mut found,
            Vec::clear,
            |found, header, payload| {
                assert_eq!(header.message_type, kind);
                found.push(payload.to_vec());
            },
        )
        .unwrap();
    found
}

#[test]
fn what_the_kernel_lists_is_read_as_the_library_reads_it() {
    isolated(|| {
        lab::ip(
            "link add e0 type veth peer name e1
             link set e0 up
             link set e1 up
             link set lo up
             addr add 192.0.2.1/24 dev e0
             addr add 2001:db8::1/64 dev e0 nodad
             route add 10.1.0.0/24 via 192.0.2.2 dev e0 onlink proto 84 src 192.0.2.1
             route add 10.1.1.0/24 via inet6 2001:db8::2 dev e0
             route add 10.1.2.0/24 metric 7 mtu 1400 advmss 1300 dev e0
             route add blackhole 10.1.3.0/24
             route add unreachable 10.1.4.0/24
             route add 10.1.5.0/24 tos 8 dev e0
             route add 10.1.6.0/24 dev e0 table 1000
             route add 10.1.7.0/24 nexthop via 192.0.2.2 dev e0 nexthop via 192.0.2.3 dev e0 weight 3
             nexthop add id 9 via 192.0.2.9 dev e0
             route add 10.1.8.0/24 nhid 9
             route add default via 192.0.2.2
             -6 route add 2001:db8:1::/64 via 2001:db8::2 dev e0 proto 84
             -6 route add blackhole 2001:db8:2::/64
             -6 route add 2001:db8:3::/64 nexthop via 2001:db8::2 dev e0 nexthop via 2001:db8::3 dev e0
             neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev e0 nud permanent
             neigh add proxy 192.0.2.8 dev e0
             neigh add 2001:db8::7 lladdr 02:00:00:00:00:07 dev e0 nud stale
             link add vx0 type vxlan id 1 dstport 4789 local 192.0.2.1 dev e0
             link set vx0 up",
        );
        lab::sh(
            "bridge fdb add 02:00:00:00:00:01 dev vx0 dst 192.0.2.5 self permanent
             bridge fdb add 02:00:00:00:00:02 dev vx0 dst 192.0.2.6 port 99 vni 7 self permanent
             bridge fdb add 02:00:00:00:00:03 dev vx0 dst 192.0.2.6 self dynamic",
        );
        let mut routes = 0;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for payload in dump(Message::GetRoute(request), NEW_ROUTE) {
                assert!(message(NEW_ROUTE, &payload).is_some());
                agrees_on_route(&payload);
                routes += 1;
            }
        }
        assert!(routes > 20, "{routes} routes");
        let mut neighbours = 0;
        for family in [
            AddressFamily::Inet,
            AddressFamily::Inet6,
            AddressFamily::Bridge,
        ] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            for payload in dump(Message::GetNeighbour(request), NEW_NEIGH) {
                assert!(message(NEW_NEIGH, &payload).is_some());
                agrees_on_neighbour(&payload);
                neighbours += 1;
            }
        }
        assert!(neighbours >= 5, "{neighbours} neighbours");
    });
}
