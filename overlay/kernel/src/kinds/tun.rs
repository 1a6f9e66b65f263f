//! TUN devices: the one kind that netlink cannot make.

use std::io;

use tweed_dataplane::tun::{explain, open_queue, persist};
use tweed_netlink::LinkInfo;
use tweed_state::LinkKind;

/// Packets that wait before the device while its reader is busy. Many senders who share the processors with it fill a
/// shorter one before it is its turn: `docs/DATA-PLANE.md`, "When many send".
const QUEUE: u32 = 2000;
/// What the kernel gives a TUN device (`TUN_READQ_SIZE` of `drivers/net/tun.c`).
const KERNELS_QUEUE: u32 = 500;

/// A TAP device is of the same kind, and has an Ethernet address.
pub(super) fn read(info: &LinkInfo) -> Option<LinkKind> {
    let is_tun = info.kind == "tun" && info.mac.is_none();
    is_tun.then_some(LinkKind::Tun {
        queues: info.queues,
    })
}

/// The length that the queue of a device should have instead, unless somebody has chosen one.
pub(super) fn queue_length(length: u32) -> Option<u32> {
    (length == KERNELS_QUEUE).then_some(QUEUE)
}

/// Makes a TUN device that stays while nobody has it open, with one queue or with several. One that is there already
/// stays as it is; so does one that is open elsewhere, which the kernel calls busy.
///
/// # Errors
/// Without `/dev/net/tun`, and the kernel's refusal: the name stands for a device of another kind, say.
pub(super) fn create(name: &str, queues: bool) -> io::Result<()> {
    let made = if queues {
        open_queue(name).and_then(|queue| persist(&queue, true))
    } else {
        create_single(name)
    };
    match made {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        result => result.map_err(|error| explain(&error)),
    }
}

fn create_single(name: &str) -> io::Result<()> {
    let mut config = tun::Configuration::default();
    // Address, MTU and state are netlink's.
    config.tun_name(name).platform_config(|linux| {
        linux.ensure_root_privileges(false);
    });
    tun::create(&config)?.persist()?;
    Ok(())
}
