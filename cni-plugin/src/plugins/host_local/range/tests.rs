use super::*;

/// A range in one line: `subnet`, then `start` and `end` where given.
pub(crate) fn conf(subnet: &str, start: &str, end: &str) -> RangeConf {
    RangeConf {
        subnet: Some(subnet.parse().unwrap()),
        range_start: start.parse().ok(),
        range_end: end.parse().ok(),
        gateway: None,
    }
}

fn plain(subnet: &str) -> Result<Range, String> {
    Range::new(&conf(subnet, "", "")).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_given_follows_from_the_subnet() {
    for (subnet, gateway, range) in [
        ("192.0.2.0/24", "192.0.2.1", "192.0.2.1-192.0.2.254"),
        ("192.0.2.0/25", "192.0.2.1", "192.0.2.1-192.0.2.126"),
        (
            "2001:db8:1::/64",
            "2001:db8:1::1",
            "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff",
        ),
    ] {
        let found = plain(subnet).unwrap();
        assert_eq!(found.gateway().to_string(), gateway);
        assert_eq!(found.to_string(), range);
    }
}

#[test]
fn subnets_that_cannot_be_used_are_refused_with_the_words_of_the_reference() {
    let host_bits = "Network has host bits set. For a subnet mask of length";
    for (subnet, expected) in [
        (
            "192.0.2.0/31",
            "Network 192.0.2.0/31 too small to allocate from".to_owned(),
        ),
        (
            "2001:db8::/127",
            "Network 2001:db8::/127 too small to allocate from".to_owned(),
        ),
        (
            "192.0.2.12/24",
            format!("{host_bits} 24 the network address is 192.0.2.0"),
        ),
        (
            "2001:db8:1::1/64",
            format!("{host_bits} 64 the network address is 2001:db8:1::"),
        ),
    ] {
        assert_eq!(plain(subnet), Err(expected));
    }
    assert_eq!(Range::new(&RangeConf::default()), Err(RangeError::NoSubnet));
}

#[test]
fn ends_outside_the_subnet_are_refused() {
    for (start, end, expected) in [
        (
            "192.0.3.0",
            "",
            "RangeStart 192.0.3.0 not in network 192.0.2.0/24",
        ),
        (
            "",
            "192.0.4.0",
            "RangeEnd 192.0.4.0 not in network 192.0.2.0/24",
        ),
        (
            "192.0.2.50",
            "192.0.2.40",
            "RangeEnd 192.0.2.40 not in network 192.0.2.0/24",
        ),
        (
            "2001:db8::1",
            "",
            "RangeStart 2001:db8::1 not in network 192.0.2.0/24",
        ),
    ] {
        let error = Range::new(&conf("192.0.2.0/24", start, end)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn network_and_broadcast_address_are_never_in_a_range_of_ipv4() {
    let range = Range::new(&conf("192.0.2.0/24", "192.0.2.0", "192.0.2.255")).unwrap();
    assert_eq!(range.to_string(), "192.0.2.1-192.0.2.254");
}

#[test]
fn membership_needs_the_family_and_both_ends() {
    let v4 = Range::new(&conf("192.0.2.0/24", "192.0.2.40", "192.0.2.50")).unwrap();
    let v6 = Range::new(&conf("2001:db8:1::/64", "2001:db8:1::40", "2001:db8:1::50")).unwrap();
    for (range, addr, inside) in [
        (v4, "192.0.2.39", false),
        (v4, "192.0.2.40", true),
        (v4, "192.0.2.50", true),
        (v4, "192.0.2.51", false),
        (v4, "2001:db8:1::45", false),
        (v6, "2001:db8:1::3f", false),
        (v6, "2001:db8:1::40", true),
        (v6, "2001:db8:1::50", true),
        (v6, "2001:db8:1::51", false),
    ] {
        assert_eq!(range.contains(&addr.parse().unwrap()), inside, "{addr}");
    }
}

#[test]
fn ranges_overlap_when_they_share_an_address() {
    for (a, b, overlap) in [
        (
            conf("192.0.2.0/24", "", ""),
            conf("192.0.3.0/24", "", ""),
            false,
        ),
        (
            conf("192.0.2.0/24", "", ""),
            conf("2001:db8::/64", "", ""),
            false,
        ),
        (
            conf("192.0.2.0/24", "", ""),
            conf("192.0.2.0/24", "", ""),
            true,
        ),
        (
            conf("192.0.2.0/20", "", "").masked(),
            conf("192.0.2.0/24", "", ""),
            true,
        ),
        (
            conf("192.0.2.0/24", "192.0.2.50", "192.0.2.100"),
            conf("192.0.2.0/24", "192.0.2.101", ""),
            false,
        ),
        (
            conf("192.0.2.0/24", "192.0.2.50", "192.0.2.100"),
            conf("192.0.2.0/24", "192.0.2.100", ""),
            true,
        ),
    ] {
        let (a, b) = (Range::new(&a).unwrap(), Range::new(&b).unwrap());
        assert_eq!(a.overlaps(&b), overlap, "{a} {b}");
        assert_eq!(b.overlaps(&a), overlap, "{b} {a}");
    }
}

#[test]
fn a_set_is_of_one_family_and_without_overlap() {
    let of = |confs: &[RangeConf]| RangeSet::new(confs).map_err(|error| error.to_string());
    assert_eq!(of(&[]), Err("empty range set".to_owned()));
    assert_eq!(
        of(&[conf("192.0.2.0/24", "", ""), conf("2001:db8::/64", "", "")]),
        Err("mixed address families".to_owned())
    );
    assert_eq!(
        of(&[
            conf("192.0.2.0/20", "", "").masked(),
            conf("192.0.2.0/24", "", "")
        ]),
        Err("subnets 192.0.0.1-192.0.15.254 and 192.0.2.1-192.0.2.254 overlap".to_owned())
    );
    let set = of(&[conf("10.0.0.0/29", "", ""), conf("10.0.1.0/29", "", "")]).unwrap();
    assert_eq!(set.to_string(), "10.0.0.1-10.0.0.6,10.0.1.1-10.0.1.6");
    assert!(set.range_of(&"10.0.1.3".parse().unwrap()).is_some());
    assert!(set.range_of(&"10.0.2.3".parse().unwrap()).is_none());
}

impl RangeConf {
    fn masked(mut self) -> Self {
        self.subnet = self.subnet.map(|net| net.trunc());
        self
    }
}
