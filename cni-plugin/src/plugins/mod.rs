//! The plugins of this binary: a folder and a row each.

mod bridge;
mod flannel;
mod host_local;
#[cfg(test)]
mod keys;
mod loopback;
mod portmap;

use tweed_model::plugins::{BINARY, LINKS};

use crate::runtime::plugin::{Registry, Row};
use crate::runtime::role::Role;
use crate::spec::Version;

/// The table. Names are those that `tweedd install-cni` makes links of.
pub(crate) const PLUGINS: Registry = Registry(&ROWS);

const ROWS: [Row; 1 + LINKS.len()] = [
    Row {
        name: BINARY,
        role: Role::Meta,
        versions: Version::V0_1_0.and_newer(),
        plugin: &flannel::Flannel,
    },
    Row {
        name: "flannel",
        role: Role::Meta,
        versions: Version::V0_1_0.and_newer(),
        plugin: &flannel::Flannel,
    },
    Row {
        name: "bridge",
        role: Role::Interface,
        versions: Version::V0_1_0.and_newer(),
        plugin: &bridge::Bridge,
    },
    Row {
        name: "host-local",
        role: Role::Addresses,
        versions: Version::V0_1_0.and_newer(),
        plugin: &host_local::HostLocal,
    },
    Row {
        name: "loopback",
        role: Role::Interface,
        versions: Version::V0_1_0.and_newer(),
        plugin: &loopback::Loopback,
    },
    Row {
        name: "portmap",
        role: Role::Chained,
        versions: Version::V0_1_0.and_newer(),
        plugin: &portmap::PortMap,
    },
];

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
