//! DHCP messages as bytes (RFC 2131, RFC 2132): ours written, a server's read. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tweed_model::Mac;

/// Options by number. A value that came in several parts is one value.
pub type Options = BTreeMap<u8, Vec<u8>>;

/// Numbers of options.
pub mod code {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const NAME_SERVER: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const STATIC_ROUTE: u8 = 33;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const REQUEST_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const LARGEST: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const USER_CLASS: u8 = 77;
    pub const CLASSLESS_ROUTE: u8 = 121;
}

/// Option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

/// A message with the fields that a client writes or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// The number by which an answer is known.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Answers are to go to everybody on the link.
    pub broadcast: bool,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// The address that the server gives.
    pub yiaddr: Ipv4Addr,
    pub hardware: Mac,
    /// All but [`code::KIND`].
    pub options: Options,
}

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
const HEADER: usize = 240;
/// The shortest message that BOOTP relays pass on.
const SHORTEST: usize = 300;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const PAD: u8 = 0;
const END: u8 = 255;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST: u16 = 0x8000;

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Discover,
            Self::Offer,
            Self::Request,
            Self::Decline,
            Self::Ack,
            Self::Nak,
            Self::Release,
            Self::Inform,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl Message {
    /// The bytes of a client's message. A value of more than 255 bytes goes in several parts (RFC 3396).
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(REQUEST)
    }

    /// The bytes of a server's.
    pub fn encode_reply(&self) -> Vec<u8> {
        self.encode_as(REPLY)
    }

    fn encode_as(&self, op: u8) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&[op, ETHERNET, 6, 0]);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.secs.to_be_bytes());
        let flags = if self.broadcast { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[16..20].copy_from_slice(&self.yiaddr.octets());
        bytes[28..34].copy_from_slice(&self.hardware.0);
        bytes[236..HEADER].copy_from_slice(&COOKIE);
        bytes.extend([code::KIND, 1, self.kind as u8]);
        for (code, value) in &self.options {
            // An option without value is still one.
            let parts = value.chunks(255).map(Some);
            let none = value.is_empty().then_some(None);
            for part in parts.chain(none) {
                let part = part.unwrap_or_default();
                bytes.extend([*code, part.len() as u8]);
                bytes.extend(part);
            }
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(SHORTEST), PAD);
        bytes
    }

    /// Reads what a server sent. `None` for anything but a whole DHCP message to an Ethernet client.
    pub fn parse_reply(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEADER)?;
        if head[..3] != [REPLY, ETHERNET, 6] || head[236..] != COOKIE {
            return None;
        }
        let mut options = Options::new();
        read_options(&bytes[HEADER..], &mut options)?;
        let overload = options.remove(&code::OVERLOAD).unwrap_or_default();
        let fields = overload.first().copied().unwrap_or_default();
        // File before name, as RFC 2131 orders them.
        if fields & 1 != 0 {
            read_options(&head[FILE], &mut options)?;
        }
        if fields & 2 != 0 {
            read_options(&head[SNAME], &mut options)?;
        }
        options.remove(&code::OVERLOAD);
        let kind = options.remove(&code::KIND)?;
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Some(Self {
            kind: kind.first().copied().and_then(Kind::from_number)?,
            xid: u32::from_be_bytes(word(4)),
            secs: half(8),
            broadcast: half(10) & BROADCAST != 0,
            ciaddr: word(12).into(),
            yiaddr: word(16).into(),
            hardware: Mac(head[28..34].try_into().ok()?),
            options,
        })
    }

    /// An option that is one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.options.get(&code)?.as_slice().try_into().ok()?;
        Some(bytes.into())
    }

    /// An option that is a number of 32 bits.
    pub fn number(&self, code: u8) -> Option<u32> {
        let bytes: [u8; 4] = self.options.get(&code)?.as_slice().try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }
}

/// `None` when an option is longer than what is left. The end may be missing.
fn read_options(mut bytes: &[u8], options: &mut Options) -> Option<()> {
    while let Some((code, rest)) = bytes.split_first() {
        match *code {
            END => break,
            PAD => bytes = rest,
            code => {
                let (length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                options.entry(code).or_default().extend(value);
                bytes = rest;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Message {
        Message {
            kind: Kind::Offer,
            xid: 0x1234_5678,
            secs: 3,
            broadcast: true,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: [10, 0, 0, 9].into(),
            hardware: Mac([2, 0, 0, 0, 0, 1]),
            options: [
                (code::SERVER, vec![10, 0, 0, 1]),
                (code::LEASE_TIME, vec![0, 0, 0, 60]),
                (code::CLASSLESS_ROUTE, vec![7; 300]),
            ]
            .into(),
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same_though_a_value_needs_two_parts() {
        let bytes = offer().encode_reply();
        assert_eq!(Message::parse_reply(&bytes), Some(offer()));
        let read = Message::parse_reply(&bytes).unwrap();
        assert_eq!(read.address(code::SERVER), Some([10, 0, 0, 1].into()));
        assert_eq!(read.number(code::LEASE_TIME), Some(60));
        assert_eq!(read.number(code::CLASSLESS_ROUTE), None);
    }

    #[test]
    fn a_clients_message_is_no_reply_and_is_at_least_300_bytes_long() {
        let bytes = offer().encode();
        assert_eq!(Message::parse_reply(&bytes), None);
        let mut short = offer();
        short.options.clear();
        assert_eq!(short.encode().len(), 300);
    }

    #[test]
    fn options_go_on_in_the_fields_that_the_overload_option_names() {
        let mut bytes = offer().encode_reply();
        bytes.truncate(HEADER);
        bytes.extend([code::KIND, 1, 2, code::OVERLOAD, 1, 3, END]);
        bytes[FILE][..6].copy_from_slice(&[code::SERVER, 4, 1, 2, 3, 4]);
        bytes[SNAME][..3].copy_from_slice(&[code::DOMAIN_NAME, 1, b'x']);
        let read = Message::parse_reply(&bytes).unwrap();
        assert_eq!(read.address(code::SERVER), Some([1, 2, 3, 4].into()));
        assert_eq!(read.options.get(&code::DOMAIN_NAME), Some(&vec![b'x']));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let bytes = offer().encode_reply();
        for length in [0, 1, 239, 241, 242, 250] {
            assert_eq!(Message::parse_reply(&bytes[..length]), None, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(0_u8.., 0..400)) {
            let mut bytes = offer().encode_reply();
            bytes.truncate(HEADER);
            bytes.extend(tail);
            if let Some(read) = Message::parse_reply(&bytes) {
                proptest::prop_assert_eq!(Message::parse_reply(&read.encode_reply()), Some(read));
            }
        }
    }
}
