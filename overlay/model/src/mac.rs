//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 48-bit Ethernet address, printed in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Why a text is not an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address (six bytes, as in 96:59:b2:3f:04:ee)")]
pub struct MacError(String);

impl Mac {
    /// A locally administered unicast address from six random bytes.
    pub fn local(random: [u8; 6]) -> Self {
        let mut bytes = random;
        bytes[0] = (bytes[0] & 0xfe) | 0x02;
        Self(bytes)
    }

    /// Whether the address can belong to one interface: not a group address and not all zeroes.
    pub fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Accepts what Go's `ParseMAC` accepts for six bytes: `aa:bb:…`, `aa-bb-…` and `aabb.ccdd.eeff`.
    fn from_str(text: &str) -> Result<Self, MacError> {
        parse(text)
            .map(Self)
            .ok_or_else(|| MacError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let (separator, width) = match text.as_bytes().get(2)? {
        b':' => (':', 2),
        b'-' => ('-', 2),
        _ if text.as_bytes().get(4) == Some(&b'.') => ('.', 4),
        _ => return None,
    };
    let mut bytes = [0; 6];
    let mut digits = 0;
    for group in text.split(separator) {
        if group.len() != width {
            return None;
        }
        for digit in group.chars() {
            let value = u8::try_from(digit.to_digit(16)?).ok()?;
            let byte: &mut u8 = bytes.get_mut(digits / 2)?;
            *byte = *byte << 4 | value;
            digits += 1;
        }
    }
    (digits == 12).then_some(bytes)
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_of_go_are_one_address() {
        let expected = Mac([0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x44]);
        for text in ["c6:d2:32:6f:8f:44", "C6-D2-32-6F-8F-44", "c6d2.326f.8f44"] {
            assert_eq!(text.parse::<Mac>(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "c6:d2:32:6f:8f:44");
    }

    #[test]
    fn what_is_not_six_bytes_is_refused() {
        for text in [
            "",
            "aa",
            "aa:bb",
            "aa:bb:cc:dd:ee:ff:00",
            "aa:bb:cc:dd:ee:fg",
            "a:b:c:d:e:f",
            "aab.ccd.eef",
            "é:bb:cc:dd:ee:ff",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
