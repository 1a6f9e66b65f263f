//! The agents of this host, by what each leaves for the plugins.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::presence::{EXTENSION, Presence};

/// All that a folder tells of, with their files.
pub(crate) fn all(folder: &Path) -> impl Iterator<Item = (PathBuf, Presence)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == EXTENSION)
    });
    files.filter_map(|path| {
        let text = bounded_file::read_text(&path, Links::Refused, 16 * KIB).ok()?;
        Some((path, Presence::parse(&text)?))
    })
}

/// Whether an agent listens at its socket. One whose queue is full does.
pub(crate) fn answers(presence: &Presence) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None);
    let (Ok(socket), Ok(address)) = (made, UnixAddr::new(presence.socket.as_str())) else {
        return false;
    };
    matches!(
        connect(socket.as_raw_fd(), &address),
        Ok(()) | Err(Errno::EAGAIN)
    )
}
