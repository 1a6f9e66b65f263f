//! Which kernel switches plugins set. `/proc/sys/net` is that of the calling thread's namespace.

use tweed_host::sysctl;
use tweed_model::Family;

use crate::spec::{CniError, Context};

/// The switch of one interface: `net/ipv6/conf/<interface>/<key>`.
pub(crate) fn of_interface(family: Family, ifname: &str, key: &str) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("net/{family}/conf/{ifname}/{key}")
}

/// Sets a switch that may be absent, as all of IPv6 is on a kernel without it.
pub(crate) fn set_if_there(key: &str, value: &str) {
    let _ = sysctl::set(key, value);
}

/// Lets packets of a family pass through this host. Writes only what must change: the switch is everybody's.
///
/// # Errors
/// When forwarding is off and can't be switched on.
pub(crate) fn enable_forwarding(family: Family) -> Result<(), CniError> {
    let key = match family {
        Family::V4 => "net/ipv4/ip_forward",
        Family::V6 => "net/ipv6/conf/all/forwarding",
    };
    sysctl::write(key, "1").context(|| format!("failed to enable forwarding: set {key}"))?;
    Ok(())
}
