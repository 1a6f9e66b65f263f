//! One blocking netlink socket, one request at a time: send, then read the answer to its end, whatever it says.
//!
//! A reply that is left unread makes the kernel refuse the next dump with EBUSY, so every path below drains first and
//! judges afterwards.

use std::fmt::Display;
use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::error::{NetlinkError, Object};
use super::wire::{Answer, Frames};

/// Room for one datagram from the kernel: it never makes one of a dump above 32 KiB, and ours are far smaller.
const DATAGRAM: usize = 64 * 1024;

/// Socket buffer for answers, bytes. Dumps are paced by our reading, so this is for bursts of acknowledgements.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// What fits the send buffer that every socket starts with (212992 bytes, less the kernel's own share).
const SEND_BUFFER: usize = 64 * 1024;

/// How often a dump is repeated when the kernel marks it interrupted, that is, when the table changed underneath it.
const DUMP_ATTEMPTS: u32 = 20;

/// A socket of one netlink family, connected to the kernel of the network namespace that the creating thread was in.
/// It stays in that namespace: it may be used from any thread.
#[derive(Debug)]
pub struct Transport {
    socket: Socket,
    port: u32,
    sequence: u32,
    interrupted: u64,
    send: Vec<u8>,
    receive: Vec<u8>,
}

impl Transport {
    /// Opens a socket of a protocol of `netlink_sys::protocols`, in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no such protocol or the process has no descriptor left.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        // Words with the errno; but not our own request back.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Refuse what a dump filter can't honour instead of ignoring it. Linux 4.20; without it we filter ourselves.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket,
            port,
            sequence: 0,
            interrupted: 0,
            send: Vec::new(),
            receive: vec![0; DATAGRAM],
        })
    }

    /// Our port number: `nlmsg_pid` of the notifications that our own requests cause.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// How many messages were sent so far.
    pub fn requests(&self) -> u32 {
        self.sequence
    }

    /// How many dumps had to be repeated so far because the kernel marked them interrupted.
    pub fn interrupted(&self) -> u64 {
        self.interrupted
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's refusal, or a socket that failed.
    pub fn change<T: NetlinkSerializable>(
        &mut self,
        object: Object,
        what: impl Display,
        message: T,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        let sequence = self
            .post(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map_err(|error| NetlinkError::of_io(object, &what, &error))?;
        self.collect(sequence, |_, _| Ok(()))
            .and_then(Outcome::finished)
            .map_err(|failure| failure.named(object, what))
    }

    /// Sends one request and returns the message that answers it.
    ///
    /// # Errors
    /// The kernel's refusal, an answer that can't be read, or a socket that failed.
    pub fn get<T>(
        &mut self,
        object: Object,
        what: impl Display,
        message: T,
    ) -> Result<T, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.get_raw(object, what, message, decode)
    }

    /// Sends one request and returns what `read` makes of the payload that answers it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn get_raw<T: NetlinkSerializable, V>(
        &mut self,
        object: Object,
        what: impl Display,
        message: T,
        read: impl Fn(&NetlinkHeader, &[u8]) -> Result<V, DecodeError>,
    ) -> Result<V, NetlinkError> {
        let sequence = self
            .post(message, NLM_F_REQUEST | NLM_F_ACK)
            .map_err(|error| NetlinkError::of_io(object, &what, &error))?;
        let mut found = None;
        self.collect(sequence, |header, payload| {
            found = Some(read(header, payload)?);
            Ok(())
        })
        .and_then(Outcome::finished)
        .map_err(|failure| failure.named(object, &what))?;
        found.ok_or_else(|| {
            NetlinkError::of_text(object, what, "the kernel sent nothing".to_owned())
        })
    }

    /// Dumps, passing each message to `each`. `restart` is called before a repetition: forget what was seen so far.
    /// A message that can't be decoded is skipped with a debug line, so that one odd device of another program hides
    /// nothing else.
    ///
    /// # Errors
    /// The kernel's refusal, a table that changed during each repetition, or a socket that failed.
    pub fn dump<T, S>(
        &mut self,
        object: Object,
        what: impl Display,
        message: T,
        state: &mut S,
        restart: fn(&mut S),
        mut each: impl FnMut(&mut S, T),
    ) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.dump_raw(
            object,
            what,
            message,
            state,
            restart,
            |state, header, payload| match decode::<T>(header, payload) {
                Ok(message) => each(state, message),
                Err(error) => {
                    tracing::debug!(kind = header.message_type, %error, "skipped a netlink message");
                }
            },
        )
    }

    /// Dumps, passing each message to `each` as it is: to decode tens of thousands costs more than to make them.
    ///
    /// # Errors
    /// As for [`Self::dump`].
    pub fn dump_raw<T, S>(
        &mut self,
        object: Object,
        what: impl Display,
        message: T,
        state: &mut S,
        restart: fn(&mut S),
        mut each: impl FnMut(&mut S, &NetlinkHeader, &[u8]),
    ) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + Clone,
    {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self
                .post(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)
                .map_err(|error| NetlinkError::of_io(object, &what, &error))?;
            let outcome = self
                .collect(sequence, |header, payload| {
                    each(state, header, payload);
                    Ok(())
                })
                .map_err(|failure| failure.named(object, &what))?;
            match outcome.error {
                // Some dumps report the change as an error instead of a mark.
                Some(failure) if failure.errno != libc::EINTR => {
                    return Err(failure.named(object, what));
                }
                None if !outcome.interrupted => return Ok(()),
                _ => {
                    self.interrupted += 1;
                    restart(state);
                }
            }
        }
        let text = format!("the table kept changing while it was read ({DUMP_ATTEMPTS} attempts)");
        Err(NetlinkError::of_text(object, what, text))
    }

    /// Sends bytes that already are netlink messages, numbered by the caller.
    pub(super) fn send_raw(&self, bytes: &[u8]) -> io::Result<()> {
        retry(|| self.socket.send(bytes, 0)).map(drop)
    }

    /// Makes room for one message of this many bytes: the kernel refuses what exceeds the send buffer.
    pub(super) fn reserve_send_buffer(&self, bytes: usize) -> io::Result<()> {
        if bytes > SEND_BUFFER {
            setsockopt(&self.socket, sockopt::SndBufForce, &(2 * bytes))?;
        }
        Ok(())
    }

    /// The next datagram, waiting for it unless `flags` has `MSG_DONTWAIT`.
    pub(super) fn receive_raw(&mut self, flags: libc::c_int) -> io::Result<&[u8]> {
        let length = retry(|| {
            self.socket
                .recv(&mut &mut self.receive[..], flags | libc::MSG_TRUNC)
        })?;
        // Cut-off answers are useless: everything after the cut is lost.
        self.receive.get(..length).ok_or_else(|| {
            io::Error::other(format!(
                "the kernel's answer of {length} bytes is larger than {DATAGRAM}"
            ))
        })
    }

    /// A fresh sequence number.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn post<T: NetlinkSerializable>(&mut self, message: T, flags: u16) -> io::Result<u32> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.next_sequence();
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        // Emitters write into place and rely on zeroed padding.
        self.send.clear();
        self.send.resize(message.buffer_len(), 0);
        message.serialize(&mut self.send);
        self.send_raw(&self.send)?;
        Ok(self.sequence)
    }

    /// Reads everything that answers `sequence`. Errors of `each` don't stop the reading; what does is followed by
    /// throwing away the rest.
    fn collect(
        &mut self,
        sequence: u32,
        each: impl FnMut(&NetlinkHeader, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<Outcome, Failure> {
        let outcome = self.read_answers(sequence, each);
        if outcome.is_err() {
            while self.receive_raw(libc::MSG_DONTWAIT).is_ok() {}
        }
        outcome
    }

    fn read_answers(
        &mut self,
        sequence: u32,
        mut each: impl FnMut(&NetlinkHeader, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        loop {
            let datagram = self.receive_raw(0).map_err(Failure::of_io)?;
            for frame in Frames::new(datagram) {
                let (header, answer) = frame.map_err(Failure::of_text)?;
                // An answer to an earlier request that failed half-way through.
                if header.sequence_number != sequence {
                    continue;
                }
                outcome.interrupted |= header.flags & netlink_packet_core::NLM_F_DUMP_INTR != 0;
                match answer {
                    Answer::Message(payload) => {
                        if let Err(error) = each(&header, payload) {
                            outcome
                                .error
                                .get_or_insert(Failure::of_text(error.to_string()));
                        }
                    }
                    Answer::Ack => return Ok(outcome),
                    Answer::Error { errno, detail } => {
                        outcome.error = Some(Failure { errno, detail });
                        return Ok(outcome);
                    }
                    Answer::Noop => {}
                }
            }
        }
    }
}

/// How a request ended.
#[derive(Default)]
struct Outcome {
    interrupted: bool,
    error: Option<Failure>,
}

impl Outcome {
    fn finished(self) -> Result<(), Failure> {
        self.error.map_or(Ok(()), Err)
    }
}

/// A failure that doesn't know yet what it is about: the words are made only when they are needed.
struct Failure {
    errno: i32,
    detail: Option<String>,
}

impl Failure {
    fn of_io(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self {
                errno,
                detail: None,
            },
            None => Self::of_text(error.to_string()),
        }
    }

    fn of_text(text: String) -> Self {
        Self {
            errno: 0,
            detail: Some(text),
        }
    }

    fn named(self, object: Object, what: impl Display) -> NetlinkError {
        NetlinkError::of_errno(object, what, self.errno, self.detail)
    }
}

fn decode<T: NetlinkDeserializable>(
    header: &NetlinkHeader,
    payload: &[u8],
) -> Result<T, DecodeError> {
    T::deserialize(header, payload).map_err(|error| DecodeError::from(error.to_string()))
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
