//! The little of a certificate that rustls does not tell, or not of all certificates: read from DER, of any version.

/// What an extended key usage is for.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];

const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// A certificate, as it says of itself. Nothing of it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    /// The signed part.
    pub(super) signed: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The public key with its algorithm, as a whole.
    pub(super) spki: &'a [u8],
    pub(super) ca: bool,
    pub(super) constrained: bool,
    /// Object identifiers; `None` where it is for everything.
    usages: Option<Vec<&'a [u8]>>,
    /// The content of the algorithm's identifier.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Elements one after the other.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag, content, and the whole of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content, &all[..all.len() - rest.len()]))
    }

    /// The content of the next element, which must be of this kind.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content, _) = self.next()?;
        (tag == wanted).then_some(content)
    }

    /// The same, if it is there.
    fn optional(&mut self, wanted: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&wanted))
            .then(|| self.expect(wanted))
            .flatten()
    }
}

impl<'a> Certificate<'a> {
    /// `None` if it is none.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).expect(SEQUENCE)?);
        let (_, content, signed) = outer.next()?;
        let algorithm = outer.expect(SEQUENCE)?;
        let signature = bits(outer.expect(BIT_STRING)?)?;
        let mut body = Reader(content);
        body.optional(VERSION);
        body.next()?; // serial number
        body.next()?; // algorithm, again
        let (_, _, issuer) = body.next()?;
        let mut validity = Reader(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let (_, _, subject) = body.next()?;
        let (_, _, spki) = body.next()?;
        let mut certificate = Self {
            signed,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            algorithm,
            signature,
            ..Self::default()
        };
        while let Some((tag, content, _)) = body.next() {
            if tag == EXTENSIONS {
                certificate.extensions(content)?;
            }
        }
        Some(certificate)
    }

    fn extensions(&mut self, content: &'a [u8]) -> Option<()> {
        let mut list = Reader(Reader(content).expect(SEQUENCE)?);
        while let Some((_, extension, _)) = list.next() {
            let mut extension = Reader(extension);
            let (_, name, _) = extension.next()?;
            extension.optional(BOOLEAN);
            let mut value = Reader(extension.expect(OCTET_STRING)?);
            match name {
                BASIC_CONSTRAINTS => {
                    let flag = Reader(value.expect(SEQUENCE)?).optional(BOOLEAN);
                    self.ca = flag.is_some_and(|flag| flag != [0]);
                }
                EXTENDED_KEY_USAGE => {
                    let mut list = Reader(value.expect(SEQUENCE)?);
                    let mut usages = Vec::new();
                    while let Some((_, usage, _)) = list.next() {
                        usages.push(usage);
                    }
                    self.usages = Some(usages);
                }
                NAME_CONSTRAINTS => self.constrained = true,
                _ => {}
            }
        }
        Some(())
    }

    /// The public key's algorithm and its bits.
    pub(super) fn key(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut key = Reader(Reader(self.spki).expect(SEQUENCE)?);
        let algorithm = key.expect(SEQUENCE)?;
        Some((algorithm, bits(key.expect(BIT_STRING)?)?))
    }

    pub(super) fn for_servers(&self) -> bool {
        self.is_for(SERVER_AUTH)
    }

    pub(super) fn for_clients(&self) -> bool {
        self.is_for(CLIENT_AUTH)
    }

    fn is_for(&self, usage: &[u8]) -> bool {
        self.usages.as_ref().is_none_or(|usages| {
            usages
                .iter()
                .any(|found| *found == usage || *found == ANY_USAGE)
        })
    }
}

/// A whole number of bytes out of a bit string.
fn bits(content: &[u8]) -> Option<&[u8]> {
    match content.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let (tag, text, _) = reader.next()?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let (year, rest) = match tag {
        UTC_TIME => {
            let year = number(text.get(..2)?)?;
            (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        _ => return None,
    };
    let field = |at: usize| number(rest.get(at..at + 2)?);
    let days = days(year, field(0)?, field(2)?);
    Some(((days * 24 + field(4)?) * 60 + field(6)?) * 60 + field(8)?)
}

/// Days from 1970 to a date of the Gregorian calendar. The year is thought to begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (month * 306 + 5) / 10 + day - 1 - 719_468
}

/// A date for people.
pub(super) fn date(seconds: i64) -> String {
    let days_left = seconds.div_euclid(86_400);
    let mut year = 1970 + days_left.div_euclid(366);
    while days(year + 1, 1, 1) <= days_left {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days(year, *month, 1) <= days_left);
    let month = month.unwrap_or(1);
    let day = days_left - days(year, month, 1) + 1;
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_767_225_599, "2025-12-31"),
            (4_102_444_800, "2100-01-01"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = Certificate::read(&bytes);
            if let Some(found) = found {
                let _ = (found.key(), date(found.not_after));
            }
        }

        #[test]
        fn an_element_of_any_length_ends_within_the_input(
            length in prop::collection::vec(any::<u8>(), 0..8), rest in prop::collection::vec(any::<u8>(), 0..40)
        ) {
            let bytes = [&[SEQUENCE], length.as_slice(), rest.as_slice()].concat();
            if let Some((_, content, whole)) = Reader(&bytes).next() {
                prop_assert!(content.len() < whole.len() && whole.len() <= bytes.len());
            }
        }
    }
}
