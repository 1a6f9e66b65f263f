//! TUN and TAP devices as the loops of the benchmarks use them: one packet a call, nothing offloaded.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use tun::Layer;

/// An open device, not blocking.
pub struct Device(tun::Device);

impl Device {
    /// Attaches to a device in the thread's namespace, or makes it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(name: &str, layer: Layer) -> Result<Self> {
        let mut configuration = tun::Configuration::default();
        configuration
            .tun_name(name)
            .layer(layer)
            .platform_config(|platform| {
                platform.ensure_root_privileges(false);
            });
        let device = tun::create(&configuration).with_context(|| format!("attach to {name}"))?;
        device.set_nonblock()?;
        Ok(Self(device))
    }

    /// Reads a packet; none when there is none at the moment.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match self.0.read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a packet. What the kernel refuses is lost.
    pub fn write(&mut self, packet: &[u8]) {
        let _ = self.0.write(packet);
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[expect(unsafe_code, reason = "the crate has its descriptor as a number alone")]
        // SAFETY: the device is open for as long as `self` is borrowed.
        unsafe {
            BorrowedFd::borrow_raw(self.0.as_raw_fd())
        }
    }
}
