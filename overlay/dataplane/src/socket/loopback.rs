//! A trial at the start, on the loopback: messages of several datagrams must come as they were sent, one by one and joined.
//! What a network card does with them can't be seen here, only what the kernel does by itself, for cards that can't: the
//! rest is found out on the way to each [peer](tweed_forward::trial). It takes less than a millisecond where all is
//! well.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, getsockname, setsockopt, sockopt};
use tweed_model::Family;

use super::address::address;
use super::datagrams::{Port, Socket};

/// How long all of it may take.
const MAX_TIME: Duration = Duration::from_millis(20);
/// Messages: bytes of each datagram but the last, how many there are, and bytes of the last. All fit the loopback's MTU
/// only one by one, as on the underlay.
const MESSAGES: [(usize, usize, usize); 4] =
    [(1472, 40, 1472), (1472, 4, 700), (64, 64, 64), (1001, 7, 1)];
/// The most bytes of a message.
const LONGEST: usize = 1 << 16;

/// What is wrong with several datagrams at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// How messages of several datagrams come.
    pub send: Option<String>,
    /// How they come where they are joined again.
    pub receive: Option<String>,
}

/// Sends and receives messages on the loopback of this namespace. Where nothing can be sent there, or nothing comes at
/// all, nothing is known to be wrong.
pub fn test(family: Family) -> Wrong {
    let deadline = Instant::now() + MAX_TIME;
    let tested = |joined| match carry(family, joined, deadline) {
        Ok(wrong) => wrong,
        Err(error) => {
            tracing::debug!(%error, %family, "the loopback can't be used for the data plane's self-test");
            None
        }
    };
    match tested(false) {
        None => Wrong {
            send: None,
            receive: tested(true),
        },
        send => Wrong {
            send,
            receive: None,
        },
    }
}

impl Socket {
    /// Uses nothing that this kernel does wrong.
    pub fn avoid(&mut self, wrong: &Wrong) {
        self.leave_out(wrong.send.is_some(), wrong.receive.is_some());
    }
}

/// What is wrong, if anything is.
fn carry(family: Family, joined: bool, deadline: Instant) -> io::Result<Option<String>> {
    let here: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let bind = || Socket::bind(SocketAddr::new(here, 0), Port::Alone);
    let (mut from, to) = (bind()?, bind()?);
    if !from.sends_segments() || (joined && !to.receives_segments()) {
        return Ok(None);
    }
    setsockopt(&to.receiver(), sockopt::UdpGroSegment, &joined)?;
    let name = getsockname::<SockaddrStorage>(to.receiver().as_raw_fd())?;
    let name = address(&name).ok_or(io::ErrorKind::InvalidInput)?;
    let mut buffer = vec![0; LONGEST];
    for (number, (size, count, last)) in MESSAGES.into_iter().enumerate() {
        let message = message(number as u8, size * (count - 1) + last);
        let single = &message[..size.min(message.len())];
        from.send_one_by_one(name, &[IoSlice::new(single)], size)?;
        if receive(&to, single.len(), &mut buffer, deadline)? != [single] {
            // A firewall, most likely.
            return Ok(None);
        }
        from.send(name, &[IoSlice::new(&message)], size)?;
        if !from.sends_segments() {
            return Ok(None); // It says so by itself.
        }
        let came = receive(&to, message.len(), &mut buffer, deadline)?;
        let sent: Vec<_> = message.chunks(size).collect();
        if let Some(wrong) = difference(&sent, &came) {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

/// Bytes that are nowhere the same.
fn message(number: u8, len: usize) -> Vec<u8> {
    let byte = |place: usize| (place.wrapping_mul(0x9e37_79b1) >> 16) as u8 ^ number;
    (0..len).map(byte).collect()
}

/// The datagrams that come until there are so many bytes, or time is over.
fn receive(
    socket: &Socket,
    len: usize,
    buffer: &mut [u8],
    deadline: Instant,
) -> io::Result<Vec<Vec<u8>>> {
    let (mut came, mut bytes) = (Vec::new(), 0);
    while bytes < len {
        if let Some(received) = socket.receive(buffer)? {
            bytes += received.len;
            let chunks = buffer[..received.len].chunks(received.size.max(1));
            came.extend(chunks.map(<[u8]>::to_vec));
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let left = PollTimeout::try_from(left + Duration::from_millis(1));
        let mut events = [PollFd::new(socket.receiver(), PollFlags::POLLIN)];
        poll(&mut events, left.unwrap_or(PollTimeout::ZERO))?;
    }
    Ok(came)
}

/// What came otherwise than it was sent.
fn difference(sent: &[&[u8]], came: &[Vec<u8>]) -> Option<String> {
    let all = sent.len();
    if let Some(place) = sent.iter().zip(came).position(|(sent, came)| sent != came) {
        return Some(format!(
            "on the loopback, datagram {} of {all} that were sent at once came with other bytes",
            place + 1
        ));
    }
    (came.len() != all).then(|| {
        format!(
            "on the loopback, {} of {all} datagrams came that were sent at once",
            came.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_compared_byte_by_byte() {
        let sent: [&[u8]; 3] = [b"one", b"two", b"3"];
        let came = |parts: &[&str]| -> Vec<Vec<u8>> {
            parts.iter().map(|part| part.as_bytes().to_vec()).collect()
        };
        assert_eq!(difference(&sent, &came(&["one", "two", "3"])), None);
        for (parts, word) in [
            (&["one", "tvo", "3"][..], "datagram 2 of 3"),
            (&["one", "two"], "2 of 3"),
            (&[], "0 of 3"),
            (&["one", "two", "3", "3"], "4 of 3"),
            (&["onetwo", "3"], "datagram 1 of 3"),
        ] {
            let wrong = difference(&sent, &came(parts)).unwrap();
            assert!(wrong.contains(word), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_wrong_with_this_kernel_and_it_takes_no_time() {
        let started = Instant::now();
        for family in Family::BOTH {
            assert_eq!(test(family), Wrong::default());
        }
        assert!(started.elapsed() < 4 * MAX_TIME, "{:?}", started.elapsed());
    }

    #[test]
    fn no_two_datagrams_of_a_message_are_the_same() {
        let bytes = message(1, 1472 * 40);
        let mut parts: Vec<_> = bytes.chunks(1472).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), 40);
    }
}
