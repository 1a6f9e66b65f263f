//! A request as bytes: its header and attributes, for messages of which the library has no types, or only large ones.

use netlink_packet_core::NetlinkSerializable;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    kind: u16,
    pub(super) bytes: Vec<u8>,
}

impl Raw {
    /// A message of a kind that begins with these bytes.
    pub(super) fn of(kind: u16, header: &[u8]) -> Self {
        let bytes = header.to_vec();
        Self { kind, bytes }
    }

    /// Adds an attribute.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        for (place, byte) in buffer.iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::attributes;

    #[test]
    fn attributes_of_any_length_are_read_back() {
        let mut message = Raw::of(1, &[0; 4]);
        let values: [&[u8]; 4] = [&[], &[1], &[1, 2, 3, 4], &[1, 2, 3, 4, 5]];
        for (kind, value) in (1..).zip(values) {
            message.put(kind, value);
        }
        let read: Vec<_> = attributes(&message.bytes[4..]).collect();
        let expected: Vec<_> = (1..).zip(values).collect();
        assert_eq!(read, expected);
    }
}
