//! Features of interfaces (offloads), over the generic netlink family `ethtool`: read one, set one.

use std::fmt;
use std::io;

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::attributes::{attribute, attributes};
use super::error::{NetlinkError, Object};
use super::transport::Transport;

/// Leaves the checksum of what is sent to the device below; as `ethtool -k` calls it.
pub const TX_CHECKSUM: &str = "tx-checksum-ip-generic";

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `ETHTOOL_MSG_FEATURES_GET` and `ETHTOOL_MSG_FEATURES_SET`.
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
/// `ETHTOOL_A_FEATURES_HEADER`, `ETHTOOL_A_FEATURES_WANTED`, `ETHTOOL_A_FEATURES_ACTIVE`.
const HEADER: u16 = 1;
const WANTED: u16 = 3;
const ACTIVE: u16 = 4;
/// `ETHTOOL_A_HEADER_DEV_NAME`, `ETHTOOL_A_HEADER_FLAGS`, `ETHTOOL_FLAG_OMIT_REPLY`.
const DEV_NAME: u16 = 2;
const FLAGS: u16 = 3;
const OMIT_REPLY: u32 = 2;
/// `ETHTOOL_A_BITSET_BITS`, `ETHTOOL_A_BITSET_BITS_BIT`, `ETHTOOL_A_BITSET_BIT_NAME`, `ETHTOOL_A_BITSET_BIT_VALUE`.
const BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// A client of ethtool's netlink family. It has one since Linux 5.6, with features since 5.8.
#[derive(Debug)]
pub struct Ethtool {
    transport: Transport,
    family: u16,
}

impl Ethtool {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no such family, or the process no descriptor left.
    pub fn open() -> Result<Self, NetlinkError> {
        let what = "look up the ethtool family";
        let failed = |error: io::Error| NetlinkError::of_io(Object::Link, what, &error);
        let mut transport = Transport::open(NETLINK_GENERIC).map_err(failed)?;
        let mut request = Message::new(CONTROLLER, GET_FAMILY);
        put(&mut request.attributes, FAMILY_NAME, b"ethtool\0");
        let answer = transport.get(Object::Link, what, request).map_err(old)?;
        let id =
            attribute(&answer.attributes, FAMILY_ID).and_then(|id| id.get(..2)?.try_into().ok());
        let unread =
            || NetlinkError::of_text(Object::Link, what, "the answer has no number".to_owned());
        Ok(Self {
            transport,
            family: u16::from_ne_bytes(id.ok_or_else(unread)?),
        })
    }

    /// Whether a feature of an interface is on.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when there is no such interface; the kernel's refusal.
    pub fn feature(&mut self, dev: &str, feature: &str) -> Result<bool, NetlinkError> {
        let mut request = Message::new(self.family, FEATURES_GET);
        put(&mut request.attributes, HEADER | NESTED, &header(dev, 0));
        let what = format_args!("ethtool -k {dev}");
        let answer = self.transport.get(Object::Link, what, request);
        Ok(is_on(&answer.map_err(old)?.attributes, feature))
    }

    /// Switches a feature of an interface.
    ///
    /// # Errors
    /// As [`Ethtool::feature`], and when the device doesn't let it be switched.
    pub fn set_feature(&mut self, dev: &str, feature: &str, on: bool) -> Result<(), NetlinkError> {
        let what = Switch(dev, feature, on);
        let mut request = Message::new(self.family, FEATURES_SET);
        put(
            &mut request.attributes,
            HEADER | NESTED,
            &header(dev, OMIT_REPLY),
        );
        put(
            &mut request.attributes,
            WANTED | NESTED,
            &one_bit(feature, on),
        );
        let done = self.transport.change(Object::Link, &what, request, 0);
        done.map_err(old)?;
        // What a device can't do is passed over without an error.
        if self.feature(dev, feature)? != on {
            let why = "the device does not let it be switched".to_owned();
            return Err(NetlinkError::of_text(Object::Link, what, why));
        }
        Ok(())
    }
}

/// In the words of the command.
struct Switch<'a>(&'a str, &'a str, bool);

impl fmt::Display for Switch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(dev, feature, on) = self;
        write!(
            f,
            "ethtool -K {dev} {feature} {}",
            if *on { "on" } else { "off" }
        )
    }
}

/// Says what a kernel without this interface lacks.
fn old(mut error: NetlinkError) -> NetlinkError {
    if matches!(
        error.errno,
        libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT
    ) {
        let why = "features are set over netlink since Linux 5.8, with CONFIG_ETHTOOL_NETLINK; before, run the command by hand and leave TxChecksum out";
        error.detail = Some(why.to_owned());
    }
    error
}

/// A message of generic netlink.
#[derive(Clone, Debug)]
struct Message {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

impl Message {
    fn new(family: u16, command: u8) -> Self {
        Self {
            family,
            command,
            attributes: Vec::new(),
        }
    }
}

/// Command, version, and two bytes that are reserved.
const GENERIC_HEADER: usize = 4;
const VERSION: u8 = 1;

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let header = [self.command, VERSION, 0, 0];
        let bytes = header.iter().chain(&self.attributes);
        for (place, byte) in buffer.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let short = || DecodeError::from("a generic netlink message without its header");
        let command = *payload.first().ok_or_else(short)?;
        let attributes = payload.get(GENERIC_HEADER..).ok_or_else(short)?;
        Ok(Self {
            family: header.message_type,
            command,
            attributes: attributes.to_vec(),
        })
    }
}

/// Adds an attribute. None of ours comes near what its length can say.
fn put(attributes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    attributes.extend(length.to_ne_bytes());
    attributes.extend(kind.to_ne_bytes());
    attributes.extend(value);
    attributes.resize(attributes.len().next_multiple_of(4), 0);
}

fn header(dev: &str, flags: u32) -> Vec<u8> {
    let mut header = Vec::new();
    put(&mut header, DEV_NAME, &[dev.as_bytes(), &[0]].concat());
    put(&mut header, FLAGS, &flags.to_ne_bytes());
    header
}

/// A bit set that says something of one bit only.
fn one_bit(name: &str, on: bool) -> Vec<u8> {
    let mut bit = Vec::new();
    put(&mut bit, BIT_NAME, &[name.as_bytes(), &[0]].concat());
    if on {
        put(&mut bit, BIT_VALUE, &[]);
    }
    let mut bits = Vec::new();
    put(&mut bits, BIT | NESTED, &bit);
    let mut set = Vec::new();
    put(&mut set, BITS | NESTED, &bits);
    set
}

/// Whether a bit is in the set of active ones, which lists those that are on.
fn is_on(answer: &[u8], feature: &str) -> bool {
    let bits = attribute(answer, ACTIVE).and_then(|set| attribute(set, BITS));
    attributes(bits.unwrap_or_default())
        .filter(|(kind, _)| *kind == BIT)
        .filter_map(|(_, bit)| attribute(bit, BIT_NAME))
        .any(|name| name.strip_suffix(&[0]).unwrap_or(name) == feature.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel answers: two features are active, one more could be.
    fn answer() -> Vec<u8> {
        let set = |names: &[&str]| {
            let mut bits = Vec::new();
            for name in names {
                let mut bit = Vec::new();
                put(&mut bit, 1, &7_u32.to_ne_bytes());
                put(&mut bit, BIT_NAME, &[name.as_bytes(), &[0]].concat());
                put(&mut bits, BIT | NESTED, &bit);
            }
            let mut set = Vec::new();
            put(&mut set, 1, &[]);
            put(&mut set, 2, &64_u32.to_ne_bytes());
            put(&mut set, BITS | NESTED, &bits);
            set
        };
        let mut attributes = Vec::new();
        put(&mut attributes, HEADER | NESTED, &header("flannel.1", 0));
        let all = ["tx-generic", "tx-checksum-ip-generic", "tx-scatter-gather"];
        put(&mut attributes, 2 | NESTED, &set(&all));
        put(&mut attributes, WANTED | NESTED, &set(&all));
        put(&mut attributes, ACTIVE | NESTED, &set(&all[1..]));
        attributes
    }

    #[test]
    fn a_feature_is_on_if_it_is_among_the_active_ones() {
        assert!(is_on(&answer(), TX_CHECKSUM));
        assert!(is_on(&answer(), "tx-scatter-gather"));
        assert!(!is_on(&answer(), "tx-generic"), "wanted and not active");
        assert!(!is_on(&answer(), "tx-checksum"), "a part of a name");
        assert!(!is_on(&[], TX_CHECKSUM));
    }

    #[test]
    fn an_answer_cut_anywhere_is_read_without_a_panic() {
        let whole = answer();
        for length in 0..whole.len() {
            is_on(&whole[..length], TX_CHECKSUM);
            let mut wrong = whole.clone();
            wrong[length] ^= 0xff;
            is_on(&wrong, TX_CHECKSUM);
        }
        let (header, short) = (NetlinkHeader::default(), [0; 3]);
        assert!(Message::deserialize(&header, &short).is_err());
    }

    #[test]
    fn a_kernel_without_the_interface_is_told_with_the_way_out() {
        let error = NetlinkError::of_errno(Object::Link, "x", libc::EOPNOTSUPP, None);
        assert!(old(error).to_string().contains("by hand"));
        let error = NetlinkError::of_errno(Object::Link, "x", libc::ENODEV, None);
        assert!(old(error).is_not_found());
    }
}
