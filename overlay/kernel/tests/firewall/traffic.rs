//! Packets through the agent's rules: which are masqueraded, and which tunnel packets are accepted.

use tweed_netlink::Netfilter;
use tweed_nft::agent_ruleset;
use tweed_nft::live::{self, Count};

use crate::lab::{
    Neighbour, addr, converge, isolated, nft, peers, policy, sh, socket, source_seen,
    source_seen_at,
};

/// This thread's namespace as a node, with a pod, a pod of another node, and a host outside.
struct Node {
    pod: Neighbour,
    remote: Neighbour,
    outside: Neighbour,
}

impl Node {
    fn new() -> Self {
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let pod = Neighbour::new(
            "pod",
            "10.244.1.1/24,fd00:10:244:1::1/64",
            "10.244.1.5/24,fd00:10:244:1::5/64",
        );
        pod.sh("ip route add default via 10.244.1.1; ip route add default via fd00:10:244:1::1");
        let remote = Neighbour::new(
            "remote",
            "198.51.100.1/24,2001:db8:1::1/64",
            "198.51.100.2/24,10.244.2.7/32,2001:db8:1::2/64,fd00:10:244:2::7/128",
        );
        remote.sh("ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1");
        sh("ip route add 10.244.2.0/24 via 198.51.100.2");
        sh("ip route add fd00:10:244:2::/64 via 2001:db8:1::2");
        let outside = Neighbour::new(
            "outside",
            "192.0.2.1/24,2001:db8::1/64",
            "192.0.2.2/24,2001:db8::2/64",
        );
        outside.sh("ip route add default via 192.0.2.1; ip route add default via 2001:db8::1");
        Self {
            pod,
            remote,
            outside,
        }
    }
}

#[test]
fn pods_keep_their_address_inside_the_network_and_lose_it_outside() {
    isolated(|| {
        let node = Node::new();
        converge(&mut Netfilter::open().unwrap(), &agent_ruleset(&policy()));
        let pod = node.pod.socket("10.244.1.5:0");
        let remote = node.remote.socket("10.244.2.7:7000");
        let outside = node.outside.socket("192.0.2.2:7000");
        assert_eq!(source_seen(&pod, &remote), addr("10.244.1.5"));
        assert_eq!(source_seen(&pod, &outside), addr("192.0.2.1"));
        let pod = node.pod.socket("10.244.1.5:7000");
        let remote = node.remote.socket("10.244.2.7:0");
        assert_eq!(source_seen(&remote, &pod), addr("10.244.2.7"));

        let pod = node.pod.socket("[fd00:10:244:1::5]:0");
        let remote = node.remote.socket("[fd00:10:244:2::7]:7000");
        let outside = node.outside.socket("[2001:db8::2]:7000");
        assert_eq!(source_seen(&pod, &remote), addr("fd00:10:244:1::5"));
        assert_eq!(source_seen(&pod, &outside), addr("2001:db8::1"));
    });
}

#[test]
fn strangers_are_seen_by_our_pods_and_masqueraded_towards_other_nodes_pods() {
    isolated(|| {
        let node = Node::new();
        converge(&mut Netfilter::open().unwrap(), &agent_ruleset(&policy()));
        let outside = node.outside.socket("192.0.2.2:0");
        let pod = node.pod.socket("10.244.1.5:7000");
        let remote = node.remote.socket("10.244.2.7:7000");
        assert_eq!(source_seen(&outside, &pod), addr("192.0.2.2"));
        assert_eq!(source_seen(&outside, &remote), addr("198.51.100.1"));

        let outside = node.outside.socket("[2001:db8::2]:0");
        let pod = node.pod.socket("[fd00:10:244:1::5]:7000");
        let remote = node.remote.socket("[fd00:10:244:2::7]:7000");
        assert_eq!(source_seen(&outside, &pod), addr("2001:db8::2"));
        assert_eq!(source_seen(&outside, &remote), addr("2001:db8:1::1"));
    });
}

#[test]
fn what_kube_proxy_has_marked_is_left_to_it() {
    isolated(|| {
        let node = Node::new();
        converge(&mut Netfilter::open().unwrap(), &agent_ruleset(&policy()));
        // The bit among others: compared exactly, as flannel's nftables mode does, it would not match.
        nft(
            "table inet kube { chain marks { type filter hook prerouting priority 0;
             udp dport 7001 meta mark set 0x4001
}
}
",
        );
        let pod = node.pod.socket("10.244.1.5:0");
        let marked = node.outside.socket("192.0.2.2:7001");
        let unmarked = node.outside.socket("192.0.2.2:7002");
        assert_eq!(source_seen(&pod, &marked), addr("10.244.1.5"));
        assert_eq!(source_seen(&pod, &unmarked), addr("192.0.2.1"));
    });
}

#[test]
fn multicast_keeps_its_source() {
    isolated(|| {
        let node = Node::new();
        converge(&mut Netfilter::open().unwrap(), &agent_ruleset(&policy()));
        let group = "224.0.0.251".parse().unwrap();
        let there = node.outside.enter(|| {
            let listener = socket("0.0.0.0:7000");
            listener
                .join_multicast_v4(&group, &"192.0.2.2".parse().unwrap())
                .unwrap();
            listener
        });
        sh("ip route add 224.0.0.0/4 dev outside src 10.244.1.1");
        let here = socket("0.0.0.0:0");
        let dest = (group, 7000).into();
        assert_eq!(source_seen_at(&here, &there, dest), addr("10.244.1.1"));
    });
}

/// A datagram as a VXLAN device sends it: flags with the I bit, the network identifier, then an Ethernet frame.
fn vxlan(vni: u32) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((vni << 8).to_be_bytes());
    packet.extend([0xaa; 20]);
    packet
}

#[test]
fn tunnel_packets_of_strangers_are_dropped_and_counted() {
    isolated(|| {
        let peer = Neighbour::new(
            "peer",
            "192.0.2.1/24,2001:db8::1/64",
            "192.0.2.2/24,2001:db8::2/64",
        );
        peer.sh("ip addr add 192.0.2.66/24 dev eth0; ip addr add 2001:db8::66/64 dev eth0 nodad");
        let mut socket_nft = Netfilter::open().unwrap();
        converge(&mut socket_nft, &agent_ruleset(&policy()));
        let dropped = |socket: &mut Netfilter| live::dropped(socket, "tweed").unwrap();
        for (ours, friend, stranger, headers) in [
            ("192.0.2.1:8472", "192.0.2.2:0", "192.0.2.66:0", 28),
            (
                "[2001:db8::1]:8472",
                "[2001:db8::2]:0",
                "[2001:db8::66]:0",
                48,
            ),
        ] {
            let before = dropped(&mut socket_nft).unwrap();
            let vtep = socket(ours);
            let (friend, stranger) = (peer.socket(friend), peer.socket(stranger));
            let arrives = |from: &std::net::UdpSocket, packet: &[u8]| {
                from.send_to(packet, ours).unwrap();
                // A later packet on the same path arrives: the first one was dropped, and is not merely late.
                friend.send_to(b"end", ours).unwrap();
                let mut got = [0; 64];
                let (len, _) = vtep.recv_from(&mut got).unwrap();
                let arrived = &got[..len] == packet;
                if arrived {
                    vtep.recv_from(&mut got).unwrap();
                }
                arrived
            };
            assert!(arrives(&friend, &vxlan(1)), "a peer's packet");
            assert!(!arrives(&stranger, &vxlan(1)), "a stranger's packet");
            assert!(arrives(&stranger, &vxlan(2)), "another overlay's packet");
            assert!(
                arrives(&stranger, &vxlan(0x0100)),
                "a network that differs in the next byte"
            );
            assert!(arrives(&stranger, b"short"), "no VXLAN packet at all");
            let own = socket(&ours.replace("8472", "0"));
            assert!(arrives(&own, &vxlan(1)), "our own packet to ourselves");
            let size = headers + vxlan(1).len() as u64;
            let expected = Count {
                packets: before.packets + 1,
                bytes: before.bytes + size,
            };
            assert_eq!(dropped(&mut socket_nft), Some(expected));
        }
        sh("nft flush ruleset");
        assert_eq!(dropped(&mut socket_nft), None);
    });
}

#[test]
fn a_real_tunnel_works_for_a_peer_and_ends_when_it_is_none() {
    isolated(|| {
        let peer = Neighbour::new("peer", "192.0.2.1/24", "192.0.2.2/24");
        let device = |local: &str, remote: &str, dev: &str, inner: &str| {
            format!(
                "ip link add flannel.1 type vxlan id 1 dstport 8472 local {local} remote {remote} dev {dev}
                 ip link set flannel.1 up; ip addr add {inner}/24 dev flannel.1"
            )
        };
        sh(&device("192.0.2.1", "192.0.2.2", "peer", "172.31.0.1"));
        peer.sh(&device("192.0.2.2", "192.0.2.1", "eth0", "172.31.0.2"));
        let mut socket = Netfilter::open().unwrap();
        let mut input = policy();
        converge(&mut socket, &agent_ruleset(&input));
        peer.sh("ping -c1 -W2 172.31.0.1");
        peers(&mut input).remove(&addr("192.0.2.2"));
        converge(&mut socket, &agent_ruleset(&input));
        peer.sh("! ping -c1 -W1 172.31.0.1");
        assert!(
            live::dropped(&mut socket, "tweed")
                .unwrap()
                .unwrap()
                .packets
                > 0
        );
    });
}
