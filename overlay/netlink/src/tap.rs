//! TAP devices that stay while no program has them open. rtnetlink creates none (seen on Linux 6.18), so that they come
//! by `/dev/net/tun`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

const PATH: &str = "/dev/net/tun";

/// A TAP device to create.
#[derive(Clone, Copy, Debug)]
pub struct TapSpec<'a> {
    pub name: &'a str,
    /// A program may open several queues of it; then each must be opened so.
    pub multi_queue: bool,
    /// The user who may open it without being root; only root if none.
    pub owner: Option<u32>,
    /// The group whose members may.
    pub group: Option<u32>,
}

/// Creates a TAP device in the network namespace of the calling thread, down. What can't be completed is gone again.
///
/// # Errors
/// The kernel's refusal, or there is no `/dev/net/tun`.
pub fn add_tap(spec: &TapSpec<'_>) -> io::Result<()> {
    let file = open_tap(spec.name, spec.multi_queue)?;
    for (request, id) in [
        (libc::TUNSETOWNER, spec.owner),
        (libc::TUNSETGROUP, spec.group),
        // The last, so that a killed process leaves nothing.
        (libc::TUNSETPERSIST, Some(1)),
    ] {
        if let Some(id) = id {
            set(&file, request, id)?;
        }
    }
    Ok(())
}

/// Opens a TAP device in the network namespace of the calling thread: reads and writes are frames, and don't wait. One
/// that isn't there is made, and goes when the file is closed.
///
/// # Errors
/// The kernel's refusal, or there is no `/dev/net/tun`.
pub fn open_tap(name: &str, multi_queue: bool) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK);
    let file = options.open(PATH);
    let file = file.map_err(|error| explain(&error))?;
    attach(&file, name, multi_queue)?;
    Ok(file)
}

fn explain(error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "there is none: load the kernel's module tun",
        _ => return io::Error::new(error.kind(), format!("{PATH}: {error}")),
    };
    io::Error::new(error.kind(), format!("{PATH}: {advice}"))
}

fn attach(file: &File, name: &str, multi_queue: bool) -> io::Result<()> {
    let queues = match multi_queue {
        true => libc::IFF_MULTI_QUEUE,
        false => 0,
    };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | queues;
    #[expect(unsafe_code, reason = "no crate makes TAP devices that stay")]
    // SAFETY: a request of zeroes is a valid one. The kernel reads its name and flags, and writes within it
    // (`TUNSETIFF` in drivers/net/tun.c).
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        // The last byte stays zero.
        let places = request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut();
        for (place, byte) in places.zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request)
    };
    answer(result)
}

fn set(file: &File, request: libc::Ioctl, value: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no crate makes TAP devices that stay")]
    // SAFETY: the argument is a number, not a pointer (drivers/net/tun.c).
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, libc::c_ulong::from(value)) };
    answer(result)
}

fn answer(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Netlink;
    use crate::lab::run;
    use crate::netns::isolated;

    #[test]
    fn a_tap_device_stays_and_is_its_owners() {
        isolated(|| {
            let spec = TapSpec {
                name: "tap0",
                multi_queue: true,
                owner: Some(54321),
                group: None,
            };
            add_tap(&spec).unwrap();
            let shown = run("ip -d link show tap0");
            for word in ["type tap", "multi_queue", "persist on", "user 54321"] {
                assert!(shown.contains(word), "{shown}");
            }
            let link = Netlink::open().unwrap().link("tap0").unwrap().unwrap();
            assert!(link.queues && link.kind == "tun" && !link.up);
        });
    }
}
