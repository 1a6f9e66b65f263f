//! One caller of the daemon: its request, a line, and the answer, another.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::lease::Time;
use crate::protocol::{GO_REQUEST, LONGEST, Reply, Request};

/// How long a request may take to arrive, and an answer to leave.
const DEADLINE: Duration = Duration::from_secs(5);
/// Go's client shows the user the status of an answer that it doesn't expect.
const TO_GO: &[u8] = b"HTTP/1.0 501 the daemon at this socket is tweed's: use tweed's dhcp plugin with it\r\nConnection: close\r\n\r\n";

pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    /// Until when the request has to be there; `None` once it is.
    deadline: Option<Time>,
}

/// What has come.
pub(crate) enum Received {
    /// Not all of it yet.
    Part,
    Request(Request),
    /// It is gone, or was sent away.
    Closed,
}

impl Connection {
    /// # Errors
    /// When the socket can't be set up.
    pub(crate) fn new(stream: UnixStream, now: Time) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            deadline: Some(now + DEADLINE),
        })
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Reads what is there. A caller that waits for its answer sends nothing more: it is gone.
    pub(crate) fn receive(&mut self) -> Received {
        if self.deadline.is_none() {
            return Received::Closed;
        }
        let mut part = [0; 16 << 10];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return Received::Closed,
                Ok(length) => self.received.extend(&part[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Received::Closed,
            }
            if self.received.starts_with(GO_REQUEST) {
                let _ = self.write(TO_GO);
                return Received::Closed;
            }
            if let Some(line) = self.received.strip_suffix(b"\n") {
                self.deadline = None;
                return match serde_json::from_slice(line) {
                    Ok(request) => Received::Request(request),
                    Err(error) => {
                        let why = format!("the daemon can't read the request: {error}");
                        let _ = self.answer(&Reply::Error(why));
                        Received::Closed
                    }
                };
            }
            if self.received.len() > LONGEST {
                let why = format!("the request is longer than {LONGEST} bytes");
                let _ = self.answer(&Reply::Error(why));
                return Received::Closed;
            }
        }
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// When the caller is gone.
    pub(crate) fn answer(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply).map_err(io::Error::other)?;
        line.push(b'\n');
        self.write(&line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(bytes)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
