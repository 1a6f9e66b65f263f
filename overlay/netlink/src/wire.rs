//! The frame of a netlink datagram: headers, acknowledgements, errors with the kernel's words. Pure.

use netlink_packet_core::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlasIterator, Parseable, parse_i32,
};

/// `NLMSGERR_ATTR_MSG`: the error in words.
const ATTR_MSG: u16 = 1;

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// An object: the payload after the netlink header.
    Message(&'a [u8]),
    /// The request is done, and succeeded.
    Ack,
    /// The request is done, and failed.
    Error {
        /// Positive errno.
        errno: i32,
        /// The kernel's words.
        detail: Option<String>,
    },
    /// Nothing.
    Noop,
}

/// The messages of one datagram.
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(NetlinkHeader, Answer<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(frame(rest).map(|(header, answer)| {
            let length = (header.length as usize).next_multiple_of(NLMSG_ALIGNTO as usize);
            self.rest = rest.get(length..).unwrap_or_default();
            (header, answer)
        }))
    }
}

fn frame(bytes: &[u8]) -> Result<(NetlinkHeader, Answer<'_>), String> {
    let buffer = NetlinkBuffer::new_checked(bytes).map_err(|error| error.to_string())?;
    let header = NetlinkHeader::parse(&buffer).map_err(|error| error.to_string())?;
    let payload = buffer.payload();
    let answer = match header.message_type {
        NLMSG_NOOP | NLMSG_OVERRUN => Answer::Noop,
        NLMSG_ERROR => verdict(&header, payload, true),
        // A dump that fails late says so here; old kernels send an empty DONE.
        NLMSG_DONE => verdict(&header, payload, false),
        _ => Answer::Message(payload),
    };
    Ok((header, answer))
}

fn verdict<'a>(header: &NetlinkHeader, payload: &'a [u8], repeats: bool) -> Answer<'a> {
    let code = payload
        .get(..4)
        .and_then(|code| parse_i32(code).ok())
        .unwrap_or(0);
    if code == 0 {
        return Answer::Ack;
    }
    Answer::Error {
        errno: code.saturating_neg(),
        detail: words(header, payload, repeats),
    }
}

/// The extended acknowledgement: after the code, and for an error after the request's header (and, unless capped, its
/// payload).
fn words(header: &NetlinkHeader, payload: &[u8], repeats: bool) -> Option<String> {
    if header.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let mut offset = 4;
    if repeats {
        let request = payload.get(4..)?;
        let length = if header.flags & NLM_F_CAPPED == 0 {
            let length = u32::from_ne_bytes(request.get(..4)?.try_into().ok()?);
            (length as usize).max(16)
        } else {
            16
        };
        offset += length.next_multiple_of(NLMSG_ALIGNTO as usize);
    }
    NlasIterator::new(payload.get(offset..)?)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ATTR_MSG)
        .map(|attribute| {
            let text = attribute.value();
            let text = text.strip_suffix(&[0]).unwrap_or(text);
            String::from_utf8_lossy(text).into_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answers(datagram: &[u8]) -> Vec<Answer<'_>> {
        Frames::new(datagram)
            .map(|frame| frame.unwrap().1)
            .collect()
    }

    #[test]
    fn an_error_carries_the_kernels_words() {
        let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        payload.extend(9u16.to_ne_bytes());
        payload.extend(ATTR_MSG.to_ne_bytes());
        payload.extend(b"nope\0\0\0\0");
        let datagram = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload);
        let expected = Answer::Error {
            errno: libc::EINVAL,
            detail: Some("nope".to_owned()),
        };
        assert_eq!(answers(&datagram), [expected]);
    }

    #[test]
    fn a_dump_is_its_messages_and_a_done_that_may_be_empty() {
        let mut datagram = message(16, 2, &[1, 2, 3]);
        datagram.extend(message(16, 2, &[4]));
        datagram.extend(message(NLMSG_DONE, 2, &[]));
        assert_eq!(
            answers(&datagram),
            [
                Answer::Message(&[1, 2, 3]),
                Answer::Message(&[4]),
                Answer::Ack
            ]
        );
    }

    #[test]
    fn a_dump_can_fail_at_its_end() {
        let datagram = message(NLMSG_DONE, 2, &(-libc::EOPNOTSUPP).to_ne_bytes());
        let expected = Answer::Error {
            errno: libc::EOPNOTSUPP,
            detail: None,
        };
        assert_eq!(answers(&datagram), [expected]);
    }

    #[test]
    fn cut_off_bytes_end_the_datagram_with_an_error() {
        let whole = message(16, 0, &[1; 8]);
        for length in 1..whole.len() {
            let mut frames = Frames::new(&whole[..length]);
            assert!(frames.next().unwrap().is_err(), "{length} bytes");
            assert!(frames.next().is_none());
        }
    }
}
