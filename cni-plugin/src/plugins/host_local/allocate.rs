//! Which address comes next. Pure: the reservations and the cursor are arguments.
//!
//! Round robin is a feature: a released address is handed out again as late as possible, since ARP caches, conntrack
//! and endpoint lists of other nodes still remember its last holder.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::range::{Range, RangeSet, step};

/// Why an address was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocError {
    /// All are taken.
    #[error("no IP addresses available in range set: {0}")]
    Exhausted(String),
    /// A requested address is the gateway's.
    #[error("requested ip {0} is subnet's gateway")]
    Gateway(IpAddr),
    /// A requested address is taken.
    #[error("requested IP address {addr} is not available in range set {set}")]
    Unavailable {
        addr: IpAddr,
        /// Where it should have come from.
        set: String,
    },
}

/// The next free address after the cursor, around all ranges of the set, with its range.
///
/// # Errors
/// [`AllocError::Exhausted`].
pub(crate) fn next<'s>(
    set: &'s RangeSet,
    cursor: Option<IpAddr>,
    taken: &BTreeSet<IpAddr>,
) -> Result<(IpAddr, &'s Range), AllocError> {
    let ranges = set.ranges();
    let at = cursor.and_then(|addr| {
        let index = ranges.iter().position(|range| range.contains(&addr))?;
        Some((index, addr))
    });
    let (first, resume) = match at {
        Some((index, addr)) => (index, Some(addr)),
        None => (0, None),
    };
    // From behind the cursor to the end of its range, through the other ranges, and back up to the cursor itself.
    let tail = resume.and_then(|addr| {
        let range = &ranges[first];
        (addr < range.end()).then(|| (range, step(addr, 1), range.end()))
    });
    let others = (usize::from(resume.is_some())..ranges.len())
        .map(|offset| &ranges[(first + offset) % ranges.len()])
        .map(|range| (range, range.start(), range.end()));
    let head = resume.map(|addr| (&ranges[first], ranges[first].start(), addr));
    tail.into_iter()
        .chain(others)
        .chain(head)
        .find_map(|(range, from, to)| free(range, from, to, taken).map(|addr| (addr, range)))
        .ok_or_else(|| AllocError::Exhausted(set.to_string()))
}

/// A requested address, with its range. `None` when it is no address of the set.
///
/// # Errors
/// When it is the gateway or taken.
pub(crate) fn requested<'s>(
    set: &'s RangeSet,
    addr: IpAddr,
    taken: &BTreeSet<IpAddr>,
) -> Result<Option<(IpAddr, &'s Range)>, AllocError> {
    let Some(range) = set.range_of(&addr) else {
        return Ok(None);
    };
    if range.gateway() == addr {
        return Err(AllocError::Gateway(addr));
    }
    if taken.contains(&addr) {
        let set = set.to_string();
        return Err(AllocError::Unavailable { addr, set });
    }
    Ok(Some((addr, range)))
}

/// The first address between two of a range that is free. Walks no further than there are holders.
fn free(range: &Range, from: IpAddr, to: IpAddr, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let mut addr = from;
    let mut taken = taken.range(from..).peekable();
    loop {
        let is_taken = taken.next_if_eq(&&addr).is_some();
        if addr != range.gateway() && !is_taken {
            return Some(addr);
        }
        if addr == to {
            return None;
        }
        addr = step(addr, 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::range::tests::conf;
    use super::*;

    fn set(subnets: &[&str]) -> RangeSet {
        let confs: Vec<_> = subnets.iter().map(|subnet| conf(subnet, "", "")).collect();
        RangeSet::new(&confs).unwrap()
    }

    fn addrs(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    fn next_text(set: &RangeSet, cursor: &str, taken: &[&str]) -> Result<String, String> {
        next(set, cursor.parse().ok(), &addrs(taken))
            .map(|(addr, _)| addr.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_golden_vectors_of_the_reference_hold() {
        let all_but_3 = ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
        let two = ["10.0.0.0/30", "10.0.1.0/30"];
        let three = ["10.0.0.0/30", "10.0.1.0/30", "10.0.2.0/30"];
        let vectors: &[(&[&str], &str, &[&str], &str)] = &[
            (&["10.0.0.0/29"], "", &[], "10.0.0.2"),
            (&["2001:db8:1::/64"], "", &[], "2001:db8:1::2"),
            (&["10.0.0.0/30"], "", &[], "10.0.0.2"),
            (&["10.0.0.0/29"], "", &["10.0.0.2"], "10.0.0.3"),
            (&["10.0.0.0/29"], "10.0.0.5", &[], "10.0.0.6"),
            (
                &["10.0.0.0/29"],
                "10.0.0.3",
                &["10.0.0.4", "10.0.0.5"],
                "10.0.0.6",
            ),
            (&["10.0.0.0/29"], "10.0.0.5", &["10.0.0.6"], "10.0.0.2"),
            (&["10.0.0.0/29"], "10.0.0.128", &["10.0.0.2"], "10.0.0.3"),
            (&["10.0.0.0/29"], "10.0.0.3", &all_but_3, "10.0.0.3"),
            (&two, "", &[], "10.0.0.2"),
            (&two, "10.0.0.2", &[], "10.0.1.2"),
            (&three, "10.0.2.2", &[], "10.0.0.2"),
        ];
        for (subnets, cursor, taken, expected) in vectors {
            let found = next_text(&set(subnets), cursor, taken);
            assert_eq!(
                found.as_deref(),
                Ok(*expected),
                "{subnets:?} after {cursor:?}"
            );
        }
    }

    #[test]
    fn an_exhausted_set_names_its_ranges() {
        assert_eq!(
            next_text(&set(&["192.168.1.0/30"]), "", &["192.168.1.2"]),
            Err("no IP addresses available in range set: 192.168.1.1-192.168.1.2".to_owned())
        );
        assert_eq!(
            next_text(
                &set(&["10.0.0.0/30", "10.0.1.0/30"]),
                "10.0.1.2",
                &["10.0.0.2", "10.0.1.2"]
            ),
            Err(
                "no IP addresses available in range set: 10.0.0.1-10.0.0.2,10.0.1.1-10.0.1.2"
                    .to_owned()
            )
        );
    }

    #[test]
    fn released_addresses_come_last() {
        let set = set(&["192.168.1.0/29"]);
        let mut cursor = String::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            cursor = next_text(&set, &cursor, &[]).unwrap();
            seen.push(cursor.clone());
        }
        let tails = ["2", "3", "4", "5", "6", "2"].map(|tail| format!("192.168.1.{tail}"));
        assert_eq!(seen, tails);
    }

    #[test]
    fn a_requested_address_is_given_unless_it_is_taken_the_gateway_or_elsewhere() {
        let set = RangeSet::new(&[conf("10.0.0.0/24", "10.0.0.10", "10.0.0.20")]).unwrap();
        let ask = |addr: &str, taken: &[&str]| {
            requested(&set, addr.parse().unwrap(), &addrs(taken))
                .map(|found| found.map(|(addr, _)| addr.to_string()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(ask("10.0.0.12", &[]), Ok(Some("10.0.0.12".to_owned())));
        assert_eq!(ask("10.0.0.9", &[]), Ok(None));
        assert_eq!(ask("10.0.0.21", &[]), Ok(None));
        assert_eq!(
            ask("10.0.0.12", &["10.0.0.12"]),
            Err(
                "requested IP address 10.0.0.12 is not available in range set 10.0.0.10-10.0.0.20"
                    .to_owned()
            )
        );
        let plain = self::set(&["10.0.0.0/24"]);
        let error = requested(&plain, "10.0.0.1".parse().unwrap(), &addrs(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "requested ip 10.0.0.1 is subnet's gateway"
        );
    }

    proptest! {
        #[test]
        fn an_address_is_free_in_its_range_and_not_the_gateway_as_long_as_there_is_one(
            taken in prop::collection::btree_set(0u32..16, 0..14),
            cursor in prop::option::of(0u32..20),
        ) {
            let at = |n: u32| step("10.0.0.0".parse().unwrap(), n);
            let set = RangeSet::new(&[
                conf("10.0.0.0/29", "", ""),
                conf("10.0.0.8/29", "", ""),
            ]).unwrap();
            let taken: BTreeSet<IpAddr> = taken.into_iter().map(at).collect();
            let usable: BTreeSet<IpAddr> =
                (2..=6).chain(10..=14).map(at).filter(|addr| !taken.contains(addr)).collect();
            match next(&set, cursor.map(at), &taken) {
                Ok((addr, range)) => {
                    prop_assert!(usable.contains(&addr));
                    prop_assert!(range.contains(&addr));
                }
                Err(_) => prop_assert!(usable.is_empty()),
            }
        }
    }
}
