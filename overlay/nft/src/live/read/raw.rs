//! Answers as plain attributes. The message types' own reader makes, for every element of a list, the text of an error
//! that hardly ever happens, which holds the whole list: ten thousand elements take it seconds (netlink-packet-netfilter
//! 0.4.0). Lists that may be long are read here, in one walk.

use netlink_packet_core::{
    DecodeError, Emitable, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, NlasIterator,
};
use netlink_packet_netfilter::NetfilterMessage;

/// Length of the header that each message of netfilter begins with: family, version, resource.
const HEADER: usize = 4;

/// A request made of message types, or an answer taken as bytes.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Request(NetfilterMessage),
    Answer {
        /// The header's last two bytes, in which nftables puts the lower half of its generation.
        resource: u16,
        attributes: Vec<u8>,
    },
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        match self {
            Self::Request(message) => message.message_type(),
            Self::Answer { .. } => 0,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Request(message) => Emitable::buffer_len(message),
            Self::Answer { .. } => 0,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Self::Request(message) = self {
            message.emit(buffer);
        }
    }
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let (header, attributes) = payload
            .split_at_checked(HEADER)
            .ok_or_else(|| DecodeError::from("a netfilter message without its header"))?;
        Ok(Self::Answer {
            resource: u16::from_be_bytes([header[2], header[3]]),
            attributes: attributes.to_vec(),
        })
    }
}

/// The attributes of a message, of a nested attribute or of a list: kind and value.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(|attribute| {
            let (kind, len) = (attribute.kind(), attribute.value_length());
            (kind, &attribute.into_inner()[NLA_HEADER_SIZE..][..len])
        })
}

/// The value of the first attribute of a kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// A text without its closing zero byte.
pub fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_broken_ones_end_the_walk() {
        let bytes = [5, 0, 1, 0, 7, 0, 0, 0, 6, 0, 2, 0, 8, 9, 0, 0, 99, 0, 3, 0];
        assert_eq!(attribute(&bytes, 1), Some(&[7][..]));
        assert_eq!(attribute(&bytes, 2), Some(&[8, 9][..]));
        assert_eq!(attribute(&bytes, 3), None);
    }
}
