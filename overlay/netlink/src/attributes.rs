//! The attributes of a message as bytes: kind and value. Dumps that come by the ten thousand are read so, and messages for
//! which the library has no types. Pure.

use std::net::IpAddr;

/// Length and kind.
const HEADER: usize = 4;
/// The kind without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND: u16 = 0x3fff;

/// The attributes of a message, of a nested attribute or of a list: kind and value. A broken one ends the walk.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

/// The value of the first attribute of a kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// What is left of a walk over attributes.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d] = *self.0.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & KIND, value))
    }
}

/// A number in the host's byte order.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A short number in the host's byte order.
pub(super) fn short(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_ne_bytes)
}

/// A flag: one byte.
pub(super) fn is_on(value: &[u8]) -> bool {
    matches!(value, [byte] if *byte != 0)
}

/// A text up to its end or a zero byte.
pub(super) fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An address, of the family that its length tells.
pub(super) fn ip_addr(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_broken_ones_end_the_walk() {
        let bytes = [
            5, 0, 1, 0, 7, 0, 0, 0, 6, 0, 2, 0x80, 8, 9, 0, 0, 99, 0, 3, 0,
        ];
        assert_eq!(attribute(&bytes, 1), Some(&[7][..]));
        assert_eq!(attribute(&bytes, 2), Some(&[8, 9][..]), "a nested one");
        assert_eq!(attribute(&bytes, 3), None);
        for length in 0..bytes.len() {
            assert!(attributes(&bytes[..length]).count() <= 2, "{length} bytes");
        }
        assert_eq!(
            attributes(&[3, 0, 1, 0]).next(),
            None,
            "shorter than a header"
        );
    }

    #[test]
    fn the_length_of_an_address_tells_its_family() {
        assert_eq!(ip_addr(&[10, 0, 0, 1]), Some([10, 0, 0, 1].into()));
        assert_eq!(ip_addr(&[0; 16]), Some([0; 16].into()));
        assert_eq!(ip_addr(&[0; 6]), None);
    }
}
