//! The names of the CNI plugins that are in the plugin binary: what it is called by, and what `tweedd install-cni` places.

/// The binary's file name, and the plugin that does the whole.
pub const BINARY: &str = "tweed";

/// The other names, which are links to the binary. The plugin doesn't build with a table of others.
pub const LINKS: [&str; 20] = [
    "flannel",
    "bridge",
    "host-local",
    "loopback",
    "portmap",
    "ptp",
    "macvlan",
    "host-device",
    "tap",
    "dummy",
    "vlan",
    "ipvlan",
    "bandwidth",
    "tuning",
    "sbr",
    "firewall",
    "vrf",
    "sample",
    "static",
    "dhcp",
];
