//! The TUN device: opened by the `tun` crate with a virtio-net header before each packet, then told which super-packets
//! it may give us. Addresses, MTU and routes are not its business: they are in the plan like every other link's.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use libc::{TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6};

/// Checksums and TSO, which every kernel has since 2.6.27.
const TCP: libc::c_uint = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
/// USO, which came with Linux 6.2 and is refused as a whole before.
const UDP: libc::c_uint = TUN_F_USO4 | TUN_F_USO6;

/// An open device, not blocking.
#[derive(Debug)]
pub struct Tun {
    file: File,
    udp: bool,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// It cannot be made or attached to.
    #[error("open TUN device {name}: {source}; /dev/net/tun and NET_ADMIN are needed")]
    Open {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: tun::Error,
    },
    /// It does not take a setting.
    #[error("set {what} of TUN device {name}: {source}")]
    Set {
        /// Its name.
        name: String,
        /// What was to be set.
        what: &'static str,
        /// Why not.
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
        let device = tun::create(&configuration).map_err(|source| TunError::Open {
            name: name.to_owned(),
            source,
        })?;
        let set = |what| {
            let name = name.to_owned();
            move |source| TunError::Set { name, what, source }
        };
        device.set_nonblock().map_err(set("non-blocking mode"))?;
        let udp = set_offload(&device, TCP | UDP).is_ok();
        if !udp {
            set_offload(&device, TCP).map_err(set("offloads"))?;
        }
        #[expect(
            unsafe_code,
            reason = "the crate gives its descriptor away as a number"
        )]
        // SAFETY: the crate has given up the descriptor, so it is ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
        Ok(Self {
            file: File::from(fd),
            udp,
        })
    }

    /// Whether it gives and takes super-packets of UDP.
    pub fn has_udp_offload(&self) -> bool {
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

fn set_offload(device: &impl AsRawFd, offloads: libc::c_uint) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no crate has this ioctl")]
    // SAFETY: the argument is a number, not a pointer (`TUNSETOFFLOAD` in drivers/net/tun.c).
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
