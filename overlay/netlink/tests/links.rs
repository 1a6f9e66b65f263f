//! Interfaces are read from the bytes. What the library's message types say of the same bytes is the measure.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use netlink_packet_core::{Nla as _, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoMacVlan, InfoPortData, InfoTun, InfoVlan,
    InfoVrf, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo as Info, LinkMessage, Prop, State,
};
use proptest::prelude::*;
use tweed_model::Mac;
use tweed_netlink::netns::isolated;
use tweed_netlink::{
    BridgeInfo, LinkInfo, Netlink, Object, OperState, PortInfo, Stacked, Transport, VxlanInfo, lab,
    link_info, link_info_of,
};

/// What the library's types say.
fn expected(message: LinkMessage) -> LinkInfo {
    let flags = message.header.flags;
    let mut info = LinkInfo {
        index: message.header.index,
        name: String::new(),
        altnames: Vec::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        promisc: flags.contains(LinkFlags::Promisc),
        carrier: flags.contains(LinkFlags::LowerUp),
        allmulti: flags.contains(LinkFlags::Allmulti),
        loopback: flags.contains(LinkFlags::Loopback),
        operstate: OperState::Unknown,
        txqlen: 0,
        master: None,
        link: None,
        link_netnsid: None,
        alias: String::new(),
        vxlan: None,
        bridge: None,
        port: None,
        stacked: None,
        queues: false,
        vrf_table: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => info.name = name,
            LinkAttribute::PropList(list) => {
                info.altnames
                    .extend(list.into_iter().filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name),
                        _ => None,
                    }))
            }
            LinkAttribute::IfAlias(alias) => info.alias = alias,
            LinkAttribute::Mtu(mtu) => info.mtu = mtu,
            LinkAttribute::TxQueueLen(length) => info.txqlen = length,
            LinkAttribute::Address(bytes) => {
                info.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::Controller(index) => info.master = Some(index),
            LinkAttribute::Link(index) => info.link = (index != 0).then_some(index),
            LinkAttribute::LinkNetNsId(id) => info.link_netnsid = Some(id),
            LinkAttribute::OperState(state) => info.operstate = oper_state(state),
            LinkAttribute::LinkInfo(parts) => kind_of(&mut info, parts),
            _ => {}
        }
    }
    info
}

fn oper_state(state: State) -> OperState {
    match state {
        State::Up => OperState::Up,
        State::Unknown => OperState::Unknown,
        _ => OperState::Down,
    }
}

fn kind_of(info: &mut LinkInfo, parts: Vec<Info>) {
    for part in parts {
        match part {
            Info::Kind(kind) => info.kind = kind.to_string(),
            Info::Data(InfoData::Vxlan(attributes)) => info.vxlan = Some(vxlan_info(&attributes)),
            Info::Data(InfoData::Bridge(attributes)) => {
                info.bridge = Some(bridge_info(&attributes));
            }
            Info::Data(InfoData::Tun(attributes)) => {
                info.queues = attributes.iter().any(has_queues);
            }
            Info::Data(InfoData::Vrf(attributes)) => {
                info.vrf_table = attributes.iter().find_map(|attribute| match attribute {
                    InfoVrf::TableId(table) => Some(*table),
                    _ => None,
                });
            }
            Info::Data(data) => info.stacked = stacked(&data),
            Info::PortData(InfoPortData::BridgePort(attributes)) => {
                info.port = Some(port_info(&attributes));
            }
            _ => {}
        }
    }
}

/// `IFLA_TUN_MULTI_QUEUE` (`linux/if_link.h`), which the crate doesn't name.
fn has_queues(attribute: &InfoTun) -> bool {
    const MULTI_QUEUE: u16 = 7;
    let mut value = [0; 1];
    if attribute.kind() != MULTI_QUEUE || attribute.value_len() != 1 {
        return false;
    }
    attribute.emit_value(&mut value);
    value != [0]
}

fn vxlan_info(attributes: &[InfoVxlan]) -> VxlanInfo {
    let mut info = VxlanInfo {
        vni: 0,
        port: 0,
        local: None,
        link: 0,
        learning: false,
        gbp: false,
        foreign: false,
    };
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(vni) => info.vni = *vni,
            InfoVxlan::Port(port) => info.port = *port,
            InfoVxlan::Local(addr) => info.local = Some((*addr).into()),
            InfoVxlan::Local6(addr) => info.local = Some((*addr).into()),
            InfoVxlan::Link(index) => info.link = *index,
            InfoVxlan::Learning(on) => info.learning = *on,
            InfoVxlan::Gbp => info.gbp = true,
            InfoVxlan::Group(addr) => info.foreign |= !addr.is_unspecified(),
            InfoVxlan::Group6(addr) => info.foreign |= !addr.is_unspecified(),
            InfoVxlan::Gpe => info.foreign = true,
            InfoVxlan::CollectMetadata(on)
            | InfoVxlan::Vnifilter(on)
            | InfoVxlan::L2Miss(on)
            | InfoVxlan::L3Miss(on)
            | InfoVxlan::Proxy(on)
            | InfoVxlan::Rsc(on) => info.foreign |= *on,
            _ => {}
        }
    }
    // Some kernels send 0.0.0.0 as the unset source address of an IPv4 device.
    info.local = info.local.filter(|addr| !addr.is_unspecified());
    info
}

fn bridge_info(attributes: &[InfoBridge]) -> BridgeInfo {
    let mut info = BridgeInfo {
        vlan_filtering: false,
        default_pvid: 1,
    };
    for attribute in attributes {
        match attribute {
            InfoBridge::VlanFiltering(on) => info.vlan_filtering = *on,
            InfoBridge::VlanDefaultPvid(vid) => info.default_pvid = *vid,
            _ => {}
        }
    }
    info
}

fn port_info(attributes: &[InfoBridgePort]) -> PortInfo {
    let mut info = PortInfo {
        hairpin: false,
        isolated: false,
    };
    for attribute in attributes {
        match attribute {
            InfoBridgePort::HairpinMode(on) => info.hairpin = *on,
            InfoBridgePort::Isolated(on) => info.isolated = *on,
            _ => {}
        }
    }
    info
}

fn stacked(data: &InfoData) -> Option<Stacked> {
    match data {
        InfoData::MacVlan(attributes) => {
            let mode = attributes.iter().find_map(|attribute| match attribute {
                InfoMacVlan::Mode(mode) => Some(*mode),
                _ => None,
            });
            let queue = attributes.iter().find_map(|attribute| match attribute {
                InfoMacVlan::BcQueueLen(length) => Some(*length),
                _ => None,
            });
            mode.map(|mode| Stacked::MacVlan { mode, queue })
        }
        InfoData::IpVlan(attributes) => attributes.iter().find_map(|attribute| match attribute {
            InfoIpVlan::Mode(mode) => Some(Stacked::IpVlan(*mode)),
            _ => None,
        }),
        InfoData::Vlan(attributes) => attributes.iter().find_map(|attribute| match attribute {
            InfoVlan::Id(id) => Some(Stacked::Vlan(*id)),
            _ => None,
        }),
        _ => None,
    }
}

/// `IFLA_LINKINFO`, `IFLA_PROP_LIST`, `NLA_F_NESTED`.
const INFO: u16 = 18;
const PROPERTIES: u16 = 52;
const NESTED: u16 = 0x8000;

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn nest(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes {
        put(&mut bytes, *kind, value);
    }
    bytes
}

/// A value as long as those of the kernel are.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 4),
        3 => prop::collection::vec(0..2_u8, 1),
        2 => prop::collection::vec(any::<u8>(), 2),
        1 => prop::collection::vec(any::<u8>(), 6),
        1 => prop::collection::vec(any::<u8>(), 16),
    ]
}

/// Texts end with a zero byte, and have no other.
fn texts(kinds: &'static [u16]) -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let text = "[a-z0-9]{0,8}".prop_map(|text| [text.as_bytes(), &[0]].concat());
    prop::collection::vec(text, kinds.len())
        .prop_map(|texts| kinds.iter().copied().zip(texts).collect())
}

/// The kernel sends each attribute once.
fn list(kinds: &'static [u16]) -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let list = prop::collection::btree_map(prop::sample::select(kinds), value(), 0..6);
    list.prop_map(|list| list.into_iter().collect())
}

const KINDS: [&str; 9] = [
    "vxlan", "bridge", "tun", "vrf", "macvlan", "ipvlan", "vlan", "veth", "other",
];

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::array::uniform15(any::<u8>());
    let plain = (list(&[1, 4, 5, 10, 13, 16, 37]), texts(&[3, 20]));
    let data = list(&[1, 2, 3, 4, 7, 11, 15, 16, 17, 23, 25, 27, 30, 39]);
    let port = list(&[4, 33, 8]);
    let kind = prop::sample::select(&KINDS[..]);
    (header, plain, kind, data, port, texts(&[53, 53])).prop_map(
        |(header, (plain, texts), kind, data, port, names)| {
            let mut bytes = [&[0], &header[..]].concat();
            for (kind, value) in plain.into_iter().chain(texts) {
                put(&mut bytes, kind, &value);
            }
            put(&mut bytes, PROPERTIES | NESTED, &nest(&names));
            let info = [
                (1, [kind.as_bytes(), &[0]].concat()),
                (2, nest(&data)),
                (4, b"bridge\0".to_vec()),
                (5, nest(&port)),
            ];
            put(&mut bytes, INFO | NESTED, &nest(&info));
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn interfaces_are_read_as_the_library_reads_them(payload in payload()) {
        if let Ok(message) = LinkMessage::parse(&payload[..]) {
            let ours = link_info(&payload).unwrap();
            prop_assert_eq!(link_info_of(&message), Some(ours.clone()));
            prop_assert_eq!(ours, expected(message));
        }
    }

    #[test]
    fn bytes_cut_or_changed_anywhere_are_read_without_a_panic(
        payload in payload(),
        (at, with) in any::<(prop::sample::Index, u8)>()
    ) {
        let mut wrong = payload.clone();
        let at = at.index(wrong.len());
        wrong[at] = with;
        for bytes in [&payload[..at], &wrong[..]] {
            let _ = link_info(bytes);
        }
    }
}

/// What the kernel's list of interfaces consists of.
fn dump() -> Vec<Vec<u8>> {
    const NETLINK_ROUTE: isize = 0;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut transport = Transport::open(NETLINK_ROUTE).unwrap();
    let mut found = Vec::new();
    let listed = transport.dump_raw(
        Object::Link,
        "list",
        request,
        &mut found,
        Vec::clear,
        |found, _, payload| found.push(payload.to_vec()),
    );
    listed.unwrap();
    found
}

#[test]
fn what_the_kernel_says_of_its_interfaces_is_read_as_the_library_reads_it() {
    isolated(|| {
        lab::ip(
            "link add e0 mtu 1400 txqueuelen 7 type veth peer name e1
             link set e0 up
             link set e0 promisc on
             link set e1 allmulticast on
             link set e1 alias tweed
             link property add dev e0 altname another
             link property add dev e0 altname third
             link add br0 type bridge
             link set e0 master br0
             addr add 192.0.2.1/24 dev e1
             link add vx0 type vxlan id 1 dstport 4789 local 192.0.2.1 dev e1 nolearning gbp
             link add vx1 type vxlan id 2 dstport 4790 group 239.1.1.1 dev e1
             link add vx2 type vxlan external dstport 4791
             link add mv0 link e1 type macvlan mode private
             tuntap add tap0 mode tap multi_queue
             tuntap add tun0 mode tun",
        );
        lab::sh("bridge link set dev e0 hairpin on isolated on");
        let payloads = dump();
        assert!(payloads.len() > 9, "{}", payloads.len());
        for payload in payloads {
            let library = expected(LinkMessage::parse(&payload[..]).unwrap());
            assert_eq!(link_info(&payload), Some(library));
        }
        let read = Netlink::open().unwrap().links().unwrap();
        let named = |name: &str| read.iter().find(|link| link.name == name).unwrap();
        assert!(named("vx2").vxlan.as_ref().unwrap().foreign);
        assert!(named("tap0").queues && !named("tun0").queues);
        assert_eq!(named("e0").altnames, ["another", "third"]);
    });
}
