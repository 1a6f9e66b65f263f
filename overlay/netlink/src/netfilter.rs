//! nfnetlink: batches (nftables transactions) with errors mapped back to their message, single requests, dumps.

use std::fmt::{self, Display};
use std::io;

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::error::{NetlinkError, Object};
use super::transport::Transport;
use super::wire::{Answer, Frames};

/// `NFNL_SUBSYS_NFTABLES`, in the batch markers' resource number.
const SUBSYSTEM_NFTABLES: u16 = 10;

/// A client of the packet filter.
#[derive(Debug)]
pub struct Netfilter {
    transport: Transport,
}

/// A batch that the kernel refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// Position of the first message that the kernel objected to; none if it objected to the batch.
    pub index: Option<usize>,
    /// The objection.
    pub error: NetlinkError,
}

impl Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(
                f,
                "{} (message {index}): {}",
                self.error.what,
                self.error.answer()
            ),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for BatchError {}

impl Netfilter {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no nfnetlink.
    pub fn open() -> io::Result<Self> {
        Transport::open(NETLINK_NETFILTER).map(|transport| Self { transport })
    }

    /// The socket's port number: `nlmsg_pid` of the notifications that its requests cause.
    pub fn port(&self) -> u32 {
        self.transport.port()
    }

    /// How many messages were sent so far.
    pub fn requests(&self) -> u32 {
        self.transport.requests()
    }

    /// Sends one request outside a transaction and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn change<T: NetlinkSerializable>(
        &mut self,
        what: impl Display,
        message: T,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.transport
            .change(Object::Netfilter, what, message, flags)
    }

    /// Sends one request that is answered by one message.
    ///
    /// # Errors
    /// The kernel's refusal; [`NetlinkError::is_not_found`] when there is no such object.
    pub fn get<T>(&mut self, what: impl Display, message: T) -> Result<T, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.transport.get(Object::Netfilter, what, message)
    }

    /// Sends one request, and returns what `read` makes of the payload that answers it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn get_raw<T: NetlinkSerializable, V>(
        &mut self,
        what: impl Display,
        message: T,
        read: impl Fn(&[u8]) -> V,
    ) -> Result<V, NetlinkError> {
        self.transport
            .get_raw(Object::Netfilter, what, message, |_, payload| {
                Ok(read(payload))
            })
    }

    /// Dumps, as the list of what `pick` finds in the messages; repeated while the kernel marks it interrupted.
    ///
    /// # Errors
    /// The kernel's refusal; [`NetlinkError::is_not_found`] when the table asked about isn't there.
    pub fn dump<T, V>(
        &mut self,
        what: impl Display,
        message: T,
        mut pick: impl FnMut(T) -> Option<V>,
    ) -> Result<Vec<V>, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        let mut found = Vec::new();
        self.transport.dump(
            Object::Netfilter,
            what,
            message,
            &mut found,
            Vec::clear,
            |found, message| found.extend(pick(message)),
        )?;
        Ok(found)
    }

    /// Dumps, passing each message's payload to `each` as it is. `restart` is called before a repetition.
    ///
    /// # Errors
    /// As for [`Self::dump`].
    pub fn dump_raw<T: NetlinkSerializable + Clone, S>(
        &mut self,
        what: impl Display,
        message: T,
        state: &mut S,
        restart: fn(&mut S),
        mut each: impl FnMut(&mut S, &[u8]),
    ) -> Result<(), NetlinkError> {
        self.transport.dump_raw(
            Object::Netfilter,
            what,
            message,
            state,
            restart,
            |state, _, payload| each(state, payload),
        )
    }

    /// Sends messages, each with its `NLM_F_CREATE` and its like, as one nftables transaction: all or none.
    ///
    /// # Errors
    /// The first message that the kernel objected to, and why; nothing is changed then.
    pub fn batch<T: NetlinkSerializable>(
        &mut self,
        what: impl Display,
        messages: Vec<(T, u16)>,
    ) -> Result<(), BatchError> {
        self.batch_at(what, messages, None)
    }

    /// Like [`Self::batch`], but with a generation (`NFTA_GEN_ID`) it fails with `ERESTART` and changes nothing if
    /// anybody has changed the packet filter since: what the messages were worked out from may no longer be so.
    ///
    /// # Errors
    /// As for [`Self::batch`].
    pub fn batch_at<T: NetlinkSerializable>(
        &mut self,
        what: impl Display,
        messages: Vec<(T, u16)>,
        generation: Option<u32>,
    ) -> Result<(), BatchError> {
        if messages.is_empty() {
            return Ok(());
        }
        let (bytes, first) = self.assemble(messages, generation);
        self.exchange(&bytes, first)
            .map_err(|(index, errno, detail)| BatchError {
                index,
                error: NetlinkError::of_errno(Object::Netfilter, what, errno, detail),
            })
    }

    /// The batch as bytes, and the sequence number of its first message.
    fn assemble<T: NetlinkSerializable>(
        &mut self,
        messages: Vec<(T, u16)>,
        generation: Option<u32>,
    ) -> (Vec<u8>, u32) {
        let mut bytes = Vec::new();
        let begin = self.transport.next_sequence();
        append(
            &mut bytes,
            begin,
            NLM_F_REQUEST,
            marker(batch_begin(generation)),
        );
        let last = messages.len() - 1;
        for (index, (message, flags)) in messages.into_iter().enumerate() {
            // One acknowledgement tells that the batch was looked at; errors come without asking.
            let ack = if index == last { NLM_F_ACK } else { 0 };
            let sequence = self.transport.next_sequence();
            append(&mut bytes, sequence, NLM_F_REQUEST | flags | ack, message);
        }
        let end = self.transport.next_sequence();
        append(
            &mut bytes,
            end,
            NLM_F_REQUEST,
            marker(ControlMessage::BatchEnd),
        );
        (bytes, begin.wrapping_add(1))
    }

    /// The kernel works a batch off within the sending call: when it returns, every answer is waiting.
    fn exchange(&mut self, bytes: &[u8], first: u32) -> Result<(), Objection> {
        let io_error = |error: io::Error| (None, error.raw_os_error().unwrap_or(0), None);
        self.transport
            .reserve_send_buffer(bytes.len())
            .map_err(io_error)?;
        self.transport.send_raw(bytes).map_err(io_error)?;
        let mut objection: Option<Objection> = None;
        let mut acknowledged = false;
        loop {
            let datagram = match self.transport.receive_raw(libc::MSG_DONTWAIT) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(objection.unwrap_or_else(|| io_error(error))),
            };
            for frame in Frames::new(datagram) {
                let (header, answer) = frame.map_err(|text| (None, 0, Some(text)))?;
                match answer {
                    Answer::Ack => acknowledged = true,
                    Answer::Error { errno, detail } => {
                        // BEGIN's number is one below the first message's: no position.
                        let index = header.sequence_number.checked_sub(first);
                        let index = index.and_then(|index| usize::try_from(index).ok());
                        objection.get_or_insert((index, errno, detail));
                    }
                    Answer::Message(_) | Answer::Noop => {}
                }
            }
        }
        match objection {
            Some(objection) => Err(objection),
            None if acknowledged => Ok(()),
            None => Err((None, 0, Some("the kernel did not answer".to_owned()))),
        }
    }
}

/// Position in the batch, errno, the kernel's words.
type Objection = (Option<usize>, i32, Option<String>);

fn append<T: NetlinkSerializable>(bytes: &mut Vec<u8>, sequence: u32, flags: u16, message: T) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let start = bytes.len();
    let end = start + message.buffer_len();
    bytes.resize(end.next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..end]);
}

/// The start of a batch. The message type has no attributes: with one it goes by its number.
fn batch_begin(generation: Option<u32>) -> ControlMessage {
    const NFNL_MSG_BATCH_BEGIN: u8 = 16;
    const NFNL_BATCH_GENID: u16 = 1;
    match generation {
        None => ControlMessage::BatchBegin,
        Some(generation) => ControlMessage::Other {
            message_type: NFNL_MSG_BATCH_BEGIN,
            attributes: vec![DefaultNla::new(
                NFNL_BATCH_GENID,
                generation.to_be_bytes().to_vec(),
            )],
        },
    }
}

fn marker(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    NetfilterMessage::new(header, message)
}
