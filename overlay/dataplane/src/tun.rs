//! The TUN device: opened by the `tun` crate with a virtio-net header before each packet, then told which super-packets
//! it may give us. Addresses, MTU and routes are not its business: they are in the plan like every other link's.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6};

/// Checksums and TSO, which every kernel has since 2.6.27.
const TCP: libc::c_uint = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
/// USO, which came with Linux 6.2 and is refused as a whole before.
const UDP: libc::c_uint = TUN_F_USO4 | TUN_F_USO6;

/// Where devices are made.
const PATH: &str = "/dev/net/tun";

/// A queue of an open device, not blocking.
#[derive(Debug)]
pub struct Tun {
    file: File,
    tcp: bool,
    udp: bool,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// It cannot be made or attached to.
    #[error("open TUN device {name}: {source}")]
    Open {
        name: String,
        /// Why not, and what to do.
        #[source]
        source: io::Error,
    },
}

impl Tun {
    /// Makes a device, or attaches to a persistent one of that name. It goes with us unless it is persistent.
    ///
    /// # Errors
    /// [`TunError`].
    pub fn open(name: &str) -> Result<Self, TunError> {
        let mut configuration = tun::Configuration::default();
        configuration.tun_name(name).platform_config(|platform| {
            // "Root privileges" means that the crate would set addresses and bring the device up.
            platform.vnet_hdr(true).ensure_root_privileges(false);
        });
        let refused = |error: io::Error| TunError::Open {
            name: name.to_owned(),
            source: explain(&error),
        };
        let device = tun::create(&configuration).map_err(|error| refused(error.into()))?;
        device.set_nonblock().map_err(refused)?;
        #[expect(
            unsafe_code,
            reason = "the crate gives its descriptor away as a number"
        )]
        // SAFETY: the crate has given up the descriptor, so it is ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
        Ok(Self::with_offloads(File::from(fd)))
    }

    /// Attaches another queue to a device with several. All of them must be opened this way.
    ///
    /// # Errors
    /// [`TunError`].
    pub fn open_queue(name: &str) -> Result<Self, TunError> {
        let queue = open_queue(name).map_err(|error| TunError::Open {
            name: name.to_owned(),
            source: explain(&error),
        })?;
        Ok(Self::with_offloads(queue))
    }

    /// Takes a queue that another process has opened, if it is one of this device: of one with `several`, or its only one.
    pub fn adopt(fd: OwnedFd, name: &str, several: bool) -> Option<Self> {
        let file = File::from(fd);
        let kind = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let all = kind | libc::IFF_MULTI_QUEUE;
        let expected = if several { all } else { kind };
        let (device, flags) = attached_to(&file).ok()?;
        (device == name && flags & all == expected).then(|| Self::with_offloads(file))
    }

    /// Gives its descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Asks for as much as the kernel has. Without any, each packet comes and goes by itself.
    fn with_offloads(file: File) -> Self {
        let udp = set_offload(&file, TCP | UDP).is_ok();
        let tcp = udp || set_offload(&file, TCP).is_ok();
        Self { file, tcp, udp }
    }

    /// Whether the device stays when nobody has it open.
    ///
    /// # Errors
    /// The kernel's.
    pub fn persist(&self, stays: bool) -> io::Result<()> {
        persist(&self.file, stays)
    }

    /// Whether it gives and takes super-packets of TCP.
    pub(crate) fn has_tcp_offload(&self) -> bool {
        self.tcp
    }

    /// Whether it gives and takes super-packets of UDP.
    pub(crate) fn has_udp_offload(&self) -> bool {
        self.udp
    }

    /// Reads a virtio-net header and a packet; gives the length of both. None when there is none at the moment.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one packet: a virtio-net header and the packet's parts.
    ///
    /// # Errors
    /// When the device is down or gone, or the kernel refuses the packet.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.file).write_vectored(parts).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a queue of a device with several, which is made if there is none of that name. No crate does this on Linux.
///
/// # Errors
/// Without `/dev/net/tun`, and the kernel's refusal: the device has one queue only, say.
pub fn open_queue(name: &str) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(PATH)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    #[expect(unsafe_code, reason = "no crate opens further queues")]
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
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// The device of a queue, and its flags (`IFF_…`).
fn attached_to(queue: &File) -> io::Result<(String, libc::c_int)> {
    #[expect(unsafe_code, reason = "no crate asks a queue for its device")]
    // SAFETY: a request of zeroes is a valid one. The kernel writes a name, with a zero at its end, and flags within it
    // (`TUNGETIFF` in drivers/net/tun.c).
    let (result, name, flags) = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let result = libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, &raw mut request);
        (result, request.ifr_name, request.ifr_ifru.ifru_flags)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = name.iter().map(|byte| byte.cast_unsigned());
    let name = name.take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8(name).map_err(io::Error::other)?;
    // A short number, of which the highest bit is a flag too.
    Ok((name, libc::c_int::from(flags.cast_unsigned())))
}

/// Has a device stay, or not, when nobody has it open.
///
/// # Errors
/// The kernel's.
pub fn persist(device: &impl AsRawFd, stays: bool) -> io::Result<()> {
    number(device, libc::TUNSETPERSIST, stays.into())
}

/// What to do about a refusal. The crate doesn't say whether the file or the device was refused, so the file is opened
/// once more.
pub fn explain(error: &io::Error) -> io::Error {
    let file = File::options().read(true).write(true).open(PATH);
    let text = words(error, file.err().as_ref()).unwrap_or_else(|| error.to_string());
    io::Error::new(error.kind(), text)
}

/// `file` is why the file can't be opened, if it can't.
fn words(error: &io::Error, file: Option<&io::Error>) -> Option<String> {
    let code = |error: &io::Error| error.raw_os_error();
    let advice = match (code(error)?, file.map(code)) {
        (_, Some(Some(libc::ENOENT))) => {
            "load the module tun; a container must be given the device"
        }
        (_, Some(Some(libc::ENODEV))) => "the kernel has no module tun: modprobe tun",
        // As a device cgroup does (seen with version 1 on Linux 6.18).
        (_, Some(Some(libc::EPERM))) => {
            "the container's device cgroup keeps it away, as runc 1.2.0 to 1.2.3 do: take another version, run the \
             container privileged, or have a device plugin give it the device"
        }
        (_, Some(Some(libc::EACCES))) => "the file's mode or a security module keeps it away",
        (libc::EPERM, None) => return Some(format!("{error}: NET_ADMIN is needed")),
        _ => return None,
    };
    let error = file.unwrap_or(error);
    Some(match code(error) {
        Some(libc::ENOENT) => format!("there is no {PATH}: {advice}"),
        _ => format!("{PATH}: {error}; {advice}"),
    })
}

fn set_offload(device: &impl AsRawFd, offloads: libc::c_uint) -> io::Result<()> {
    number(device, libc::TUNSETOFFLOAD, offloads)
}

/// A setting that is a number.
fn number(device: &impl AsRawFd, request: libc::Ioctl, value: libc::c_uint) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no crate has these ioctls for a queue of ours")]
    // SAFETY: the argument is a number, not a pointer (drivers/net/tun.c).
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, libc::c_ulong::from(value)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let of = io::Error::from_raw_os_error;
        for (code, file, said) in [
            (libc::ENOENT, Some(libc::ENOENT), "there is no /dev/net/tun"),
            (libc::ENOENT, Some(libc::ENOENT), "must be given the device"),
            (libc::ENODEV, Some(libc::ENODEV), "modprobe tun"),
            (libc::EPERM, Some(libc::EPERM), "device cgroup"),
            (libc::EPERM, Some(libc::EPERM), "privileged"),
            (libc::EACCES, Some(libc::EACCES), "mode"),
            (libc::EPERM, None, "NET_ADMIN"),
        ] {
            let file = file.map(of);
            let text = words(&of(code), file.as_ref()).unwrap();
            assert!(text.contains(said), "{text}");
        }
        // The device's own refusals are told as they are.
        assert_eq!(words(&of(libc::EBUSY), None), None);
        assert_eq!(words(&of(libc::EINVAL), None), None);
    }
}
