//! Names and numbers that the rules and the elements of host ports share.

use ipnet::Ipv4Net;
use tweed_model::Family;

/// The bit that marks the first packet of a connection that is to be masqueraded: the one that Go's plugin uses.
pub const MASQUERADE_MARK: u32 = 1 << 13;

pub(super) fn loopback4() -> Ipv4Net {
    Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)
}

/// Map of ports that 127.0.0.0/8 leads to, with the source that packets from there get.
pub(super) const LOOPBACK_MAP: &str = "loopback4";
/// The same for ports of one of these addresses.
pub(super) const LOOPBACK_ADDR_MAP: &str = "loopbackaddr4";

/// Map of ports on all addresses of the host.
pub(super) fn port_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "hostport4",
        Family::V6 => "hostport6",
    }
}

/// Map of ports on one address of the host.
pub(super) fn addr_port_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "hostaddr4",
        Family::V6 => "hostaddr6",
    }
}

/// Map of connections to ports under conditions.
pub(super) fn flow_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "hostflow4",
        Family::V6 => "hostflow6",
    }
}

/// Set of connections to host ports that are masqueraded.
pub(super) fn flow_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "hairpin4",
        Family::V6 => "hairpin6",
    }
}
