//! The operator's choices, in the words of the plan.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use tweed_netlink::Netlink;
use tweed_nft::Masquerade;
use tweed_plan::Choices;

use crate::config::options::{Options, StoreOptions};

/// The operator's choices that shape the wanted state.
pub fn choices(options: &Options) -> Choices {
    let firewall = options.firewall;
    Choices {
        table: options.host.instance.table().to_owned(),
        masquerade: firewall.ip_masq.then_some(Masquerade {
            fully_random: firewall.random_fully,
        }),
        forward_accept: firewall.forward_rules,
        allow_list: firewall.peer_allow_list,
        check_sources: firewall.check_sources,
        way_back: knows_way_back(),
        nexthops: has_nexthops(),
        blackhole: options.blackhole_route,
        bridge_filter: matches!(options.store, StoreOptions::Kube(_)),
        former: BTreeSet::new(),
    }
}

/// Whether the packet filter can ask for the way back of a packet to this host: since Linux 5.19.
fn knows_way_back() -> bool {
    kernel_version() >= (5, 19)
}

/// Whether the kernel has nexthop objects (since Linux 5.3), asked once.
fn has_nexthops() -> bool {
    static ANSWER: LazyLock<bool> =
        LazyLock::new(|| Netlink::open().is_ok_and(|mut netlink| netlink.has_nexthops()));
    *ANSWER
}

/// Major and minor number of the running kernel; zeroes where it doesn't say. It is read once.
pub(super) fn kernel_version() -> (u32, u32) {
    static VERSION: LazyLock<(u32, u32)> = LazyLock::new(read_kernel_version);
    *VERSION
}

fn read_kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.trim().parse::<u32>().ok());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}
