//! IP headers, read and validated: RFC 791 for IPv4, RFC 8200 §3 and §4 for IPv6 with its extension headers. A reason
//! for each packet that is none. What is inside of a packet that holds together is [`segment`](super::segment)'s topic.

mod header;
mod ipv4;
mod ipv6;
#[cfg(test)]
mod tests;

pub(super) use header::word;
pub use header::{Fragment, Malformed, Packet};

/// Protocol numbers that mean something here (IANA, "Assigned Internet Protocol Numbers").
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

impl Packet {
    /// Reads the headers at the beginning of `bytes`.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|byte| byte >> 4) {
            None => Err(Malformed::Empty),
            Some(4) => ipv4::parse(bytes),
            Some(6) => ipv6::parse(bytes),
            Some(_) => Err(Malformed::Version),
        }
    }
}
