//! Kernel switches under `/proc/sys/net`, of the namespace that the calling thread is in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tweed_overlay::model::Family;

use crate::spec::{CniError, Context};

/// The switch of one interface: `ipv6/conf/<interface>/<key>`.
pub(crate) fn of_interface(family: Family, ifname: &str, key: &str) -> PathBuf {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    Path::new(family).join("conf").join(ifname).join(key)
}

/// Sets a switch.
///
/// # Errors
/// When it can't be written, and is not already as wanted, as it may well be where `/proc/sys` is read-only.
pub(crate) fn set(key: &Path, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    let written = File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written.or_else(|error| match fs::read_to_string(&path) {
        Ok(text) if text.trim_end() == value => Ok(()),
        _ => Err(error),
    })
}

/// Sets a switch that may be absent, as all of IPv6 is on a kernel without it.
pub(crate) fn set_if_there(key: &Path, value: &str) {
    let _ = set(key, value);
}

/// Lets packets of a family pass through this host. Writes only what must change: the switch is everybody's.
///
/// # Errors
/// When forwarding is off and can't be switched on.
pub(crate) fn enable_forwarding(family: Family) -> Result<(), CniError> {
    let key = match family {
        Family::V4 => "ipv4/ip_forward",
        Family::V6 => "ipv6/conf/all/forwarding",
    };
    let path = Path::new("/proc/sys/net").join(key);
    if fs::read_to_string(path).is_ok_and(|text| text.trim_end() == "1") {
        return Ok(());
    }
    set(Path::new(key), "1").context(|| format!("failed to enable forwarding: set net/{key}"))
}
