//! The host's clock as leases count it: it goes on while the host sleeps, nobody sets it, and a file of the same boot that
//! holds its time means the same after a restart of the daemon.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::lease::Time;

/// The time since boot.
///
/// # Panics
/// On a kernel before 2.6.39, which has no such clock.
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had it since 2.6.39");
    Duration::from(time)
}
