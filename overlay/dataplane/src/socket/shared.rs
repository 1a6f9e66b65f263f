//! A port that several workers share, and which of them gets what.
//!
//! The device gives a flow's packets to the worker that last wrote one the other way (`tun_flow_update` in
//! drivers/net/tun.c), and a worker writes what its socket receives. So what a worker sends must come to the worker of the
//! same number on the other host: otherwise flows wander from one to the next, out of order, or end up with one of them
//! all together. Each sends from a port that tells its number, and the kernel asks a program of four instructions which
//! socket is meant (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, bind, getsockname};
use tweed_model::Family;

use super::address::address;

/// Numbers that ports tell: as many as there may be workers. A host with fewer takes the remainder.
const NUMBERS: u16 = 64;
/// Ports that are tried.
const ATTEMPTS: usize = 64;
/// Where the network header is, for a program (`SKF_NET_OFF`, linux/filter.h).
const NETWORK_HEADER: u32 = (-0x10_0000_i32).cast_unsigned();

/// Binds a socket to some port that tells this number beside the shared port.
pub(super) fn bind_sender(
    socket: impl Fn() -> io::Result<OwnedFd>,
    shared: SocketAddr,
    number: u8,
) -> io::Result<OwnedFd> {
    for _ in 0..ATTEMPTS {
        // The kernel names a port that is free; one of those after it tells the number.
        let any = bound(socket()?, SocketAddr::new(shared.ip(), 0))?;
        let name = getsockname::<SockaddrStorage>(any.as_raw_fd())?;
        let free = address(&name).map_or(0, |addr| addr.port());
        drop(any);
        let told = u16::from(tells(free, shared.port()));
        let Some(port) = free.checked_add((u16::from(number) + NUMBERS - told) % NUMBERS) else {
            continue;
        };
        match bound(socket()?, SocketAddr::new(shared.ip(), port)) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            result => return result,
        }
    }
    Err(Errno::EADDRINUSE.into())
}

/// The number that a port tells beside the shared one.
pub(super) fn tells(port: u16, shared: u16) -> u8 {
    (port.wrapping_sub(shared) % NUMBERS) as u8
}

fn bound(fd: OwnedFd, addr: SocketAddr) -> io::Result<OwnedFd> {
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    Ok(fd)
}

/// Has datagrams to the shared port given to the socket with the number that their source port tells, of so many in the
/// order in which they were bound.
pub(super) fn share_by_sender(
    fd: &OwnedFd,
    family: Family,
    port: u16,
    count: u8,
) -> io::Result<()> {
    let source_port = NETWORK_HEADER.wrapping_add(match family {
        Family::V4 => 20,
        Family::V6 => 40,
    });
    let to_shared = u32::from(NUMBERS - port % NUMBERS);
    let step = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, source_port),
        step(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, to_shared),
        step(
            libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
            u32::from(NUMBERS) - 1,
        ),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count.into()),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    #[expect(unsafe_code, reason = "nix attaches no programs")]
    // SAFETY: the kernel reads a program of the length that is said, and copies it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}
