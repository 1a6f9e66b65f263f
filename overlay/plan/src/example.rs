//! A node and an operator's choices, for tests and benchmarks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tweed_model::{Dual, Host, Identity, LocalNode, Mac, Uplink};
use tweed_nft::Masquerade;

use super::desired::Choices;

/// The node with subnet 1 of 10.244.0.0/16, with `dual` of fd00:10:244::/48 too. Its neighbours are in 198.18.0.0/24 and
/// fd00:a::/64.
pub fn node(dual: bool) -> LocalNode {
    let v4 = |bytes: [u8; 4]| IpNet::from(Ipv4Net::new_assert(bytes.into(), 24));
    let v6 = |words: [u16; 8]| IpNet::from(Ipv6Net::new_assert(words.into(), 64));
    let addrs = Dual {
        v4: Some(IpAddr::from([198, 18, 0, 1])),
        v6: dual.then(|| IpAddr::from([0xfd00, 0xa, 0, 0, 0, 0, 0, 1])),
    };
    LocalNode {
        uplink: Uplink {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            addrs,
            onlink: vec![v4([198, 18, 0, 0]), v6([0xfd00, 0xa, 0, 0, 0, 0, 0, 0])],
            learned_default: false,
        },
        public: addrs,
        identity: Identity {
            vtep_mac: Mac([2, 0, 0, 0, 0, 1]),
            vtep_mac_v6: Mac([2, 0, 0, 0, 0, 2]),
        },
        subnets: Dual {
            v4: Some(v4([10, 244, 1, 0])),
            v6: dual.then(|| v6([0xfd00, 0x10, 0x244, 1, 0, 0, 0, 0])),
        },
        host: Host::default(),
    }
}

/// All that an agent does by default.
pub fn choices() -> Choices {
    Choices {
        table: "tweed".into(),
        masquerade: Some(Masquerade { fully_random: true }),
        forward_accept: true,
        allow_list: true,
        check_sources: true,
        way_back: true,
        nexthops: true,
        blackhole: true,
        bridge_filter: false,
        former: BTreeSet::new(),
    }
}
