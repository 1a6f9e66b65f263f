//! Packets of a link where the client has no address yet: a packet socket that takes nothing but UDP to a client's port.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socket,
};

use crate::message::Message;
use crate::packet::{CLIENT_PORT, Checksum, unwrap, wrap};

/// The longest packet that is read, in bytes: Ethernet's largest and some.
const LARGEST: usize = 2048;
/// The length of the kernel's `struct tpacket_auxdata`, which begins with the status.
const AUXDATA: usize = 20;
/// `linux/if_packet.h`; libc has neither.
const PACKET_AUXDATA: i32 = 8;
/// Whether the checksum is left to hardware.
const CSUM_NOT_READY: u32 = 1 << 3;
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    index: u32,
}

impl PacketSocket {
    /// Opens one on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// Without the capability `NET_RAW`, or when there is no such interface.
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Of no protocol: it gets nothing before its filter is in place.
        let fd = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        let socket = Self { fd, index };
        socket.filter()?;
        socket.option(libc::SOL_PACKET, PACKET_AUXDATA, &1_i32)?;
        socket.bind()?;
        Ok(socket)
    }

    /// Sends to everybody on the link.
    ///
    /// # Errors
    /// When the interface is down or gone.
    pub(crate) fn send(&self, from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        let packet = wrap(from, to, message);
        let address = self.address(EVERYBODY);
        #[expect(unsafe_code, reason = "nix makes no addresses of packet sockets")]
        // SAFETY: the kernel reads a packet and an address of the lengths that are said.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        Ok(Errno::result(sent).map(drop)?)
    }

    /// The next message of a server. `None` when no packet is left; packets that are none are passed over.
    ///
    /// # Errors
    /// When the interface is down or gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        let mut buffer = [0; LARGEST];
        loop {
            let (length, checksum) = match self.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                read => read?,
            };
            let payload = unwrap(&buffer[..length], checksum);
            if let Some(message) = payload.and_then(Message::parse_reply) {
                return Ok(Some(message));
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Checksum)> {
        let mut control = cmsg_space!([u8; AUXDATA]);
        let mut parts = [io::IoSliceMut::new(buffer)];
        let fd = self.fd.as_raw_fd();
        let read = recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let mut checksum = Checksum::Whole;
        for message in read.cmsgs()? {
            let ControlMessageOwned::Unknown(data) = message else {
                continue;
            };
            let status = data.data_bytes.first_chunk().copied();
            if status.is_some_and(|status| u32::from_ne_bytes(status) & CSUM_NOT_READY != 0) {
                checksum = Checksum::Unfinished;
            }
        }
        Ok((read.bytes, checksum))
    }

    fn address(&self, hardware: [u8; 6]) -> libc::sockaddr_ll {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&hardware);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_IP as u16).to_be(),
            sll_ifindex: self.index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        }
    }

    fn bind(&self) -> io::Result<()> {
        let address = self.address([0; 6]);
        #[expect(unsafe_code, reason = "nix makes no addresses of packet sockets")]
        // SAFETY: the kernel reads an address of the length that is said.
        let bound = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        Ok(Errno::result(bound).map(drop)?)
    }

    /// A pod's traffic is not copied here: UDP, no later fragment, to a client's port.
    fn filter(&self) -> io::Result<()> {
        let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let absolute = |size: u32, at: u32| step(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at);
        let equal = |k: u32, jf: u8| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, jf, k);
        let mut steps = [
            absolute(libc::BPF_B, 9),
            equal(17, 6),
            absolute(libc::BPF_H, 6),
            step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x1fff),
            step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
            step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
            equal(CLIENT_PORT.into(), 1),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, LARGEST as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: steps.len() as u16,
            filter: steps.as_mut_ptr(),
        };
        self.option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn option<T>(&self, level: i32, name: i32, value: &T) -> io::Result<()> {
        #[expect(unsafe_code, reason = "nix has neither option")]
        // SAFETY: the kernel reads a value of the length that is said; a program it copies at once.
        let set = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        Ok(Errno::result(set).map(drop)?)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
