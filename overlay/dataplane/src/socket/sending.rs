//! Sends one message: waits for room in the buffer, and sends once more where the error was about an earlier datagram.

use std::io::IoSlice;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::errors::is_pending_error;

/// How long to wait when the kernel does not say for what.
const PAUSE: Duration = Duration::from_millis(1);

/// Room for a control message with one number, aligned as one: a header of 16 bytes and 8.
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; 24]);

/// Sends `parts` as datagrams of `size` bytes, or as one without it. The time spent waiting is taken off `wait`.
pub(super) fn send(
    fd: &OwnedFd,
    to: &SockaddrStorage,
    parts: &[IoSlice<'_>],
    size: Option<u16>,
    wait: &mut Duration,
) -> Result<(), Errno> {
    let mut again = true;
    loop {
        match send_message(fd, to, parts, size) {
            Err(Errno::EAGAIN) if !wait.is_zero() => wait_for_room(fd, wait),
            Err(errno) if again && is_pending_error(errno) => again = false,
            result => return result,
        }
    }
}

fn wait_for_room(fd: &OwnedFd, wait: &mut Duration) {
    let start = Instant::now();
    let mut events = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    let millis = u8::try_from(wait.as_millis()).unwrap_or(u8::MAX);
    let _ = poll(&mut events, PollTimeout::from(millis));
    let room = events[0]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLOUT));
    if !room {
        // A message in the error queue ends each wait at once.
        thread::sleep(PAUSE.min(*wait));
    }
    *wait = wait.saturating_sub(start.elapsed());
}

/// One `sendmsg`. nix has it too, but takes memory for every control message.
fn send_message(
    fd: &OwnedFd,
    to: &SockaddrStorage,
    parts: &[IoSlice<'_>],
    size: Option<u16>,
) -> Result<(), Errno> {
    let mut control = Control([0; 24]);
    #[expect(unsafe_code, reason = "sendmsg without an allocation")]
    // SAFETY: a header of zeroes is a valid one. All it points to lives until the end of this function: the address,
    // the parts, which are only read, and the control message, which has room for what is written (24 bytes for a
    // header of 16 and a number of 2).
    let result = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        // The standard library guarantees a slice of these to be what the kernel expects.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        if let Some(size) = size {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = libc::UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(header).cast::<u16>().write_unaligned(size);
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        libc::sendmsg(fd.as_raw_fd(), &raw const message, flags)
    };
    Errno::result(result).map(drop)
}
