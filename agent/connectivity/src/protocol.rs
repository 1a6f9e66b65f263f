//! The messages between test and responders: after the key, one JSON document a line each way; and datagrams.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::key::DATAGRAM_KEY;

/// What a responder is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// For its name, and the source address of the question.
    Hello,
    /// To probe others.
    Probe(Round),
    /// For the senders of the datagrams that arrived in a run.
    #[serde(rename = "Heard")]
    Arrivals(u64),
    /// To read this many bytes that follow, and count them.
    Swallow(u32),
    /// To ask another responder, which the test does not reach.
    Relay(IpAddr, Box<Self>),
}

/// The answer to a question, or a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Hello`].
    Hello(Hello),
    /// To [`Ask::Probe`].
    Probed(Observations),
    /// To [`Ask::Arrivals`].
    #[serde(rename = "Heard")]
    Arrivals(Vec<Arrival>),
    /// To [`Ask::Swallow`].
    Swallowed(u32),
    /// Why there is none.
    Refused(String),
}

/// A responder introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name: that of its pod, or of its host.
    pub name: String,
    /// The address from which it sees the asking side.
    pub source: IpAddr,
    /// MTU of the interface that has the address which was asked; `None` where it can't be told.
    pub mtu: Option<u32>,
}

/// What one responder is to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Number of the test.
    pub run: u64,
    /// Its own number in it.
    pub from: u16,
    /// The others.
    pub targets: Vec<Target>,
    /// Addresses of the service of all responders.
    pub services: Vec<IpAddr>,
    /// `service.namespace`, to be resolved.
    pub name: Option<String>,
}

/// One address of another responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number.
    pub to: u16,
    /// The address.
    pub addr: IpAddr,
    /// Whether to send it so much that all packets are full.
    pub transfer: bool,
}

/// What one responder has found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// One for each target.
    pub pairs: Vec<Pair>,
    /// One for each service address.
    pub services: Vec<Service>,
    /// About the name.
    pub names: Option<Names>,
    /// How many targets there was no time for.
    pub left: usize,
}

/// What happened on the way to one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Number of the other responder.
    pub to: u16,
    /// Its address.
    pub addr: IpAddr,
    /// A connection.
    pub tcp: Result<Connected, String>,
    /// A small datagram and its answer; the error is what the kernel said, empty if nothing came back.
    pub udp: Result<(), String>,
    /// A datagram in the largest packet; not tried where small ones fail.
    pub big: Option<Big>,
    /// Bytes in full packets; not tried where connections fail, or where it was not asked for.
    pub transfer: Option<Result<(), String>>,
}

/// A connection that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The name of the responder that answered.
    pub name: String,
    /// Our address at this end.
    pub own: IpAddr,
    /// Our address as the other end sees it.
    pub seen: IpAddr,
    /// From the first packet to the answer to it, in microseconds.
    pub micros: u64,
}

/// A datagram that must not be fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Big {
    /// Bytes of the packet with its IP header: the MTU of the interfaces at both ends.
    pub size: u32,
    /// Bytes of the largest packet that was answered.
    pub passed: u32,
    /// What a router said would pass, if one did.
    pub told: Option<u32>,
}

/// What happened on the way to the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its address.
    pub addr: IpAddr,
    /// The name of the responder that answered, or what came instead.
    pub answer: Result<String, String>,
}

/// What the resolvers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The name that was asked for.
    pub name: String,
    /// Each resolver of `resolv.conf`, and what it said.
    pub resolvers: Vec<(IpAddr, Result<Vec<IpAddr>, String>)>,
}

/// The sender of a datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number.
    pub from: u16,
    /// Whether over IPv6.
    pub v6: bool,
}

const QUESTION: &[u8; 8] = b"tweedC1?";
const ANSWER: &[u8; 8] = b"tweedC1!";

/// Bytes of the smallest question.
pub const SMALLEST: usize = 8 + DATAGRAM_KEY + 8 + 2;
/// Bytes of an answer. It is smaller, so that a responder multiplies no traffic.
pub const ANSWER_SIZE: usize = 8 + 8 + 4;

/// A datagram that asks for an answer, of `size` bytes and at least [`SMALLEST`].
pub fn question(key: &[u8; DATAGRAM_KEY], run: u64, from: u16, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(QUESTION);
    bytes.extend(key);
    bytes.extend(run.to_be_bytes());
    bytes.extend(from.to_be_bytes());
    bytes.resize(size.max(SMALLEST), 0);
    bytes
}

/// Reads a question: run and sender. `None` if it is none, or one of somebody without the key.
pub fn read_question(key: &[u8; DATAGRAM_KEY], bytes: &[u8]) -> Option<(u64, u16)> {
    let rest = bytes.strip_prefix(QUESTION)?.strip_prefix(key)?;
    let (run, rest) = rest.split_first_chunk()?;
    let (from, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*run), u16::from_be_bytes(*from)))
}

/// The answer to a question of `size` bytes.
pub fn answer(run: u64, size: usize) -> Vec<u8> {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    [&ANSWER[..], &run.to_be_bytes(), &size.to_be_bytes()].concat()
}

/// Whether these bytes answer a question of `size` bytes in this run.
pub fn answers(bytes: &[u8], run: u64, size: usize) -> bool {
    bytes == answer(run, size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; DATAGRAM_KEY] = [7; DATAGRAM_KEY];

    #[test]
    fn an_answer_is_smaller_than_any_question() {
        let question = question(&KEY, 1, 2, 0);
        assert_eq!(question.len(), SMALLEST);
        assert!(answer(1, question.len()).len() < question.len());
        assert_eq!(answer(1, 9).len(), ANSWER_SIZE);
    }

    #[test]
    fn a_question_without_the_key_is_none() {
        assert_eq!(read_question(&[8; 16], &question(&KEY, 1, 2, 100)), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(run: u64, from: u16, size in SMALLEST..9000) {
            let bytes = question(&KEY, run, from, size);
            prop_assert_eq!(bytes.len(), size);
            prop_assert_eq!(read_question(&KEY, &bytes), Some((run, from)));
            prop_assert!(answers(&answer(run, size), run, size));
            prop_assert!(!answers(&answer(run, size), run, size + 1));
        }

        #[test]
        fn nothing_that_arrives_is_a_surprise(bytes: Vec<u8>) {
            prop_assert_eq!(read_question(&KEY, &bytes), None);
            prop_assert!(!answers(&bytes, 1, 100) || bytes.len() == ANSWER_SIZE);
        }
    }
}
