//! The table against a scan of all subnets.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;
use tweed_model::Family;

fn peer(subnets: Dual<IpNet>) -> Peer {
    Peer {
        endpoint: "192.0.2.1:8285".parse().unwrap(),
        addresses: Dual::of_addrs(["192.0.2.1".parse().unwrap()]),
        subnets,
        mtu: 1472,
    }
}

/// The longest subnet that contains the address; of equals the first.
fn scan(peers: &[Peer], addr: IpAddr) -> Option<usize> {
    let mut best: Option<(u8, usize)> = None;
    for (index, peer) in peers.iter().enumerate() {
        let Some(net) = peer.subnets.get(Family::of(&addr)) else {
            continue;
        };
        if net.contains(&addr) && best.is_none_or(|(len, _)| net.prefix_len() > len) {
            best = Some((net.prefix_len(), index));
        }
    }
    best.map(|(_, index)| index)
}

/// Addresses that differ in few bits, so that prefixes nest and meet.
fn addr4() -> impl Strategy<Value = Ipv4Addr> {
    let low = prop_oneof![any::<u32>(), 0..1024u32, (0..64u32).prop_map(|n| n << 8)];
    let high = prop_oneof![Just(0x0a2a_0000), Just(0x0a00_0000), Just(0)];
    (high, low).prop_map(|(high, low): (u32, u32)| Ipv4Addr::from(high ^ low))
}

fn addr6() -> impl Strategy<Value = Ipv6Addr> {
    let low = prop_oneof![
        any::<u128>(),
        0..1024u128,
        (0..1024u128).prop_map(|n| n << 62)
    ];
    low.prop_map(|low| Ipv6Addr::from((0xfd00 << 112) ^ low))
}

fn nets() -> impl Strategy<Value = Dual<IpNet>> {
    let v4 = (addr4(), 0..=32u8).prop_map(|(addr, len)| Ipv4Net::new(addr, len).unwrap().into());
    let v6 = (addr6(), 0..=128u8).prop_map(|(addr, len)| Ipv6Net::new(addr, len).unwrap().into());
    (prop::option::of(v4), prop::option::of(v6)).prop_map(|(v4, v6)| Dual { v4, v6 })
}

proptest! {
    #[test]
    fn a_lookup_finds_what_a_scan_finds(
        nets in prop::collection::vec(nets(), 0..24),
        v4 in prop::collection::vec(addr4(), 20),
        v6 in prop::collection::vec(addr6(), 20),
    ) {
        let peers: Vec<Peer> = nets.into_iter().map(peer).collect();
        let table = Table::new(Dual::default(), peers.clone());
        let bases = peers.iter().flat_map(|peer| peer.subnets.values());
        let edges: Vec<IpAddr> = bases.flat_map(|net| [net.network(), net.broadcast()]).collect();
        let addrs = v4.into_iter().map(IpAddr::from).chain(v6.into_iter().map(IpAddr::from));
        for addr in addrs.chain(edges) {
            let found = table.lookup(addr).map(PeerId::index);
            prop_assert_eq!(found, scan(&peers, addr), "{}", addr);
        }
    }
}

fn thousand() -> Vec<Peer> {
    let net = |n: u16| -> IpNet {
        let [high, low] = n.to_be_bytes();
        Ipv4Net::new(Ipv4Addr::new(10, 42 + high, low, 0), 24)
            .unwrap()
            .into()
    };
    (0..1000).map(|n| peer(Dual::of_nets([net(n)]))).collect()
}

#[test]
fn a_thousand_subnets_of_one_network_take_a_node_for_each_256() {
    let table = Table::new(Dual::default(), thousand());
    assert_eq!(table.v4.nodes(), 1 + 4);
    let addr = "10.43.7.9".parse().unwrap();
    assert_eq!(table.lookup(addr).map(PeerId::index), Some(256 + 7));
    assert_eq!(table.lookup("10.46.0.1".parse().unwrap()), None);
}

#[test]
fn a_sender_is_known_by_any_of_its_addresses_and_not_by_its_pods() {
    let mut peers = thousand();
    peers[3].addresses.v6 = Some("2001:db8::3".parse().unwrap());
    let table = Table::new(Dual::default(), peers);
    assert!(table.knows_sender("192.0.2.1".parse().unwrap()));
    assert!(table.knows_sender("2001:db8::3".parse().unwrap()));
    assert!(!table.knows_sender("10.42.3.1".parse().unwrap()));
}

#[test]
fn the_device_address_does_not_narrow_the_own_subnet() {
    let own = Dual::of_nets(["10.42.1.0/24".parse().unwrap()]);
    let table = Table::new(own, Vec::new());
    assert!(table.is_own("10.42.1.200".parse().unwrap()));
    assert!(!table.is_own("10.42.2.1".parse().unwrap()));
}
