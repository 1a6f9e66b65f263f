//! The bytes of a set's element. Sets have one or more for each peer, and nearly all are short: those are held in place.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

/// As many bytes are held in place: an IPv6 address is, and an IPv4 one with a network.
const SHORT: usize = 22;

/// An element in the kernel's byte form. Ordered and compared as its bytes.
#[derive(Clone)]
pub struct ElementBytes(Bytes);

#[derive(Clone)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Deref for ElementBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(length, bytes) => &bytes[..usize::from(*length)],
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for ElementBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        Self(
            match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
                (Some(place), Ok(length)) => {
                    place.copy_from_slice(bytes);
                    Bytes::Short(length, short)
                }
                _ => Bytes::Long(bytes.into()),
            },
        )
    }
}

impl From<Vec<u8>> for ElementBytes {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for ElementBytes {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl Ord for ElementBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl PartialOrd for ElementBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for ElementBytes {}

impl PartialEq for ElementBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for ElementBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_they_were_made_of_and_ordered_as_bytes_are() {
        let all: Vec<Vec<u8>> = (0..40_u8)
            .map(|length| (0..length).rev().collect())
            .collect();
        for a in &all {
            let held = ElementBytes::from(a.clone());
            assert_eq!(*held, **a);
            for b in &all {
                let other = ElementBytes::from(b.as_slice());
                assert_eq!(held.cmp(&other), a.cmp(b));
                assert_eq!(held == other, a == b);
            }
        }
        assert_eq!(size_of::<ElementBytes>(), 24);
    }
}
