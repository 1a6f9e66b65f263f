//! The plugins of this binary: a folder and a row each.

mod bandwidth;
mod bridge;
mod dhcp;
mod dummy;
mod firewall;
mod flannel;
mod host_device;
mod host_local;
mod ipvlan;
#[cfg(test)]
pub(crate) mod keys;
mod loopback;
mod macvlan;
mod portmap;
mod ptp;
mod sample;
mod sbr;
mod static_ipam;
mod tap;
mod tuning;
mod tweed;
mod vlan;
mod vrf;

use tweed_model::plugins::{BINARY, LINKS};

use crate::runtime::plugin::{Plugin, Registry, Row};
use crate::runtime::role::Role;
use crate::spec::Version;

/// The table. Names are those that `tweedd install-cni` makes links of.
pub(crate) const PLUGINS: Registry = Registry(&ROWS);

const ROWS: [Row; 1 + LINKS.len()] = [
    Row {
        name: BINARY,
        role: Role::Meta,
        versions: Version::V0_1_0.and_newer(),
        plugin: &tweed::Tweed,
    },
    Row {
        name: "flannel",
        role: Role::Meta,
        versions: Version::V0_1_0.and_newer(),
        plugin: &flannel::Flannel,
    },
    interface("bridge", &bridge::Bridge),
    addresses("host-local", &host_local::HostLocal),
    interface("loopback", &loopback::Loopback),
    chained("portmap", Version::V0_1_0, &portmap::PortMap),
    interface("ptp", &ptp::Ptp),
    interface("macvlan", &macvlan::PLUGIN),
    interface("host-device", &host_device::HostDevice),
    interface("tap", &tap::Tap),
    interface("dummy", &dummy::Dummy),
    interface("vlan", &vlan::PLUGIN),
    interface("ipvlan", &ipvlan::PLUGIN),
    chained("bandwidth", Version::V0_3_0, &bandwidth::Bandwidth),
    chained("tuning", Version::V0_1_0, &tuning::Tuning),
    chained("sbr", Version::V0_1_0, &sbr::SourceRouting),
    chained("firewall", Version::V0_4_0, &firewall::Firewall),
    chained("vrf", Version::V0_3_1, &vrf::Vrf),
    chained("sample", Version::V0_1_0, &sample::Sample),
    addresses("static", &static_ipam::StaticIpam),
    addresses("dhcp", &dhcp::Dhcp),
];

/// The row of a plugin that makes an interface, for all versions.
const fn interface(name: &'static str, plugin: &'static dyn Plugin) -> Row {
    Row {
        name,
        role: Role::Interface,
        versions: Version::V0_1_0.and_newer(),
        plugin,
    }
}

/// The row of a plugin that follows another, from a version on.
const fn chained(name: &'static str, oldest: Version, plugin: &'static dyn Plugin) -> Row {
    Row {
        role: Role::Chained,
        versions: oldest.and_newer(),
        ..interface(name, plugin)
    }
}

/// The row of a plugin that hands out addresses, for all versions.
const fn addresses(name: &'static str, plugin: &'static dyn Plugin) -> Row {
    Row {
        role: Role::Addresses,
        ..interface(name, plugin)
    }
}

/// A name that is missing here or there doesn't build.
const _: () = {
    let mut index = 0;
    while index < LINKS.len() {
        assert!(is_same(ROWS[index + 1].name, LINKS[index]));
        index += 1;
    }
};

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}
