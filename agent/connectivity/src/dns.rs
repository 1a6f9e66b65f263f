//! As much of DNS as it takes to ask one resolver for one name (RFC 1035, 3596), and `resolv.conf`. Pure.
//!
//! The system's resolver would not say which server is silent, nor be silent itself about search lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tweed_model::Family;

/// The domain of services where `resolv.conf` names none: kubeadm's.
const SERVICES: &str = "svc.cluster.local";

/// What matters of a `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The resolvers, in order.
    pub servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl ResolvConf {
    /// Reads a file's text; lines that can't be read don't count, as with the system's resolver.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(address)),
                Some("search" | "domain") => {
                    conf.search = words
                        .map(|word| word.trim_end_matches('.').to_owned())
                        .collect();
                }
                _ => {}
            }
        }
        conf
    }

    /// The full name of a service, `name.namespace`: with the domain that pods search for services.
    pub fn service(&self, name: &str) -> String {
        let domain = self
            .search
            .iter()
            .find(|domain| domain.starts_with("svc."))
            .map_or(SERVICES, String::as_str);
        format!("{name}.{domain}")
    }
}

/// An address, perhaps with a zone.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

const HEADER: usize = 12;
const INTERNET: u16 = 1;

fn record_type(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 28,
    }
}

/// A query for a name's addresses of one family. `None` if it can't be a name.
pub fn query(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // One question, recursion desired.
    for word in [id, 0x0100, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok();
        bytes.push(length.filter(|length| (1..64).contains(length))?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(record_type(family).to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    Some(bytes)
}

/// Reads the answer to a query of this number: the addresses, or the resolver's refusal in words. `None` if these bytes
/// are no answer to it.
pub fn answer(id: u16, bytes: &[u8]) -> Option<Result<Vec<IpAddr>, String>> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let flags = word(2)?;
    if word(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    match flags & 0xf {
        0 => {}
        2 => return Some(Err("it failed (SERVFAIL)".to_owned())),
        3 => return Some(Err("it knows no such name (NXDOMAIN)".to_owned())),
        5 => return Some(Err("it refuses to answer (REFUSED)".to_owned())),
        code => return Some(Err(format!("it answers with code {code}"))),
    }
    let mut at = HEADER;
    for _ in 0..word(4)? {
        at = after_name(bytes, at)? + 4;
    }
    let mut addrs = Vec::new();
    for _ in 0..word(6)? {
        at = after_name(bytes, at)?;
        let length = usize::from(word(at + 8)?);
        let data = bytes.get(at + 10..at + 10 + length)?;
        match (word(at)?, data.len()) {
            (1, 4) => addrs.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            (28, 16) => addrs.push(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => {}
        }
        at += 10 + length;
    }
    Some(Ok(addrs))
}

/// Where a name ends that begins here: at the empty label, or behind a pointer.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_domain_of_services_is_the_one_that_pods_search() {
        let text = "search ns.svc.example.net svc.example.net. example.net\nnameserver 10.96.0.10\nnameserver fd00::a%eth0\nnameserver x\noptions ndots:5\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<IpAddr> = ["10.96.0.10", "fd00::a"].map(|a| a.parse().unwrap()).into();
        assert_eq!(conf.servers, servers);
        assert_eq!(conf.service("a.ns"), "a.ns.svc.example.net");
        let none = ResolvConf::parse("");
        assert_eq!(none.service("a.ns"), "a.ns.svc.cluster.local");
    }

    /// An answer with the question repeated, a CNAME and two addresses, the names compressed.
    fn response(id: u16) -> Vec<u8> {
        let mut bytes = query(id, "a.b", Family::V4).unwrap();
        bytes[2] = 0x81;
        bytes[7] = 3;
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 5, 0, 2, 0xc0, 12]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 0, 7]);
        bytes.extend([1, b'x', 0, 0, 28, 0, 1, 0, 0, 0, 5, 0, 16]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes
    }

    #[test]
    fn addresses_are_found_among_other_records() {
        let addrs = answer(7, &response(7)).unwrap().unwrap();
        let expected: Vec<IpAddr> = ["10.96.0.7", "fd00::1"].map(|a| a.parse().unwrap()).into();
        assert_eq!(addrs, expected);
        assert_eq!(answer(8, &response(7)), None);
        let query = query(7, "a.b", Family::V6).unwrap();
        assert_eq!(answer(7, &query), None, "a question is no answer");
    }

    #[test]
    fn refusals_are_told_in_words() {
        let mut bytes = response(7);
        bytes[3] = 3;
        let refusal = answer(7, &bytes).unwrap().unwrap_err();
        assert!(refusal.contains("NXDOMAIN"), "{refusal}");
    }

    #[test]
    fn what_can_be_no_name_is_not_asked_for() {
        assert!(query(1, "a..b", Family::V4).is_none());
        assert!(query(1, &"a".repeat(64), Family::V4).is_none());
        assert!(query(1, &"a.".repeat(130), Family::V4).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_is_a_surprise(bytes: Vec<u8>, cut in 0_usize..80) {
            let _ = answer(7, &bytes);
            let mut known = response(7);
            known.truncate(cut);
            let _ = answer(7, &known);
        }
    }
}
