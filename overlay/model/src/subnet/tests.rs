use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The pool that flannel derives: all subnets but the first.
fn pool(network: &str, subnet_len: u8) -> Pool {
    let network = net(network);
    let last = subnet_count(&network, subnet_len) - 1;
    Pool {
        network,
        subnet_len,
        min: nth_subnet(&network, subnet_len, 1).unwrap().addr(),
        max: nth_subnet(&network, subnet_len, last).unwrap().addr(),
    }
}

fn dual_pools() -> Dual<Pool> {
    Dual {
        v4: Some(pool("10.5.0.0/16", 24)),
        v6: Some(pool("fd00:5::/48", 64)),
    }
}

fn nets(texts: &[&str]) -> Dual<IpNet> {
    Dual::of_nets(texts.iter().map(|text| net(text)))
}

#[test]
fn the_first_subnet_is_skipped_and_the_first_hundred_free_are_drawn_from() {
    let pools = Dual {
        v4: Some(pool("10.3.0.0/16", 24)),
        v6: None,
    };
    let drawn: BTreeSet<_> = (0..1000)
        .map(|n| choose(&pools, &[], &[], n).unwrap().v4.unwrap())
        .collect();
    assert_eq!(drawn.len(), 100);
    assert_eq!(drawn.first(), Some(&net("10.3.1.0/24")));
    assert_eq!(drawn.last(), Some(&net("10.3.100.0/24")));
}

#[test]
fn ipv6_is_drawn_without_enumerating_and_independently_of_ipv4() {
    let chosen = choose(&dual_pools(), &[], &[], 3 | (7 << 32)).unwrap();
    assert_eq!(chosen, nets(&["10.5.4.0/24", "fd00:5:0:8::/64"]));
    let whole = Dual {
        v4: None,
        v6: Some(pool("::/1", 127)),
    };
    assert_eq!(
        choose(&whole, &[], &[], 0).unwrap().v6,
        Some(net("::2/127"))
    );
}

#[test]
fn a_subnet_held_before_is_taken_again_while_it_is_free() {
    let mine = nets(&["10.5.200.0/24", "fd00:5:0:c8::/64"]);
    let other = nets(&["10.5.9.0/24", "fd00:5:0:9::/64"]);
    assert_eq!(
        choose(&dual_pools(), &[SubnetKey(other)], &[other, mine], 0),
        Ok(mine)
    );
}

#[test]
fn a_subnet_held_before_that_no_longer_fits_is_passed_over() {
    let pools = Dual {
        v4: Some(pool("10.5.0.0/16", 24)),
        v6: None,
    };
    let fallback = choose(&pools, &[], &[], 0).unwrap();
    for previous in [
        "10.6.1.0/24",
        "10.5.1.0/25",
        "10.5.0.0/24",
        "10.5.2.1/24",
        "10.0.0.0/8",
        "fd00:5:0:1::/64",
    ] {
        assert_eq!(
            choose(&pools, &[], &[nets(&[previous])], 0),
            Ok(fallback),
            "{previous}"
        );
    }
}

#[test]
fn a_node_that_goes_dual_stack_keeps_its_ipv4_subnet() {
    let chosen = choose(&dual_pools(), &[], &[nets(&["10.5.77.0/24"])], 0).unwrap();
    assert_eq!(chosen, nets(&["10.5.77.0/24", "fd00:5:0:1::/64"]));
}

#[test]
fn leases_of_other_lengths_are_stepped_over() {
    let pools = Dual {
        v4: Some(pool("10.5.0.0/16", 24)),
        v6: None,
    };
    let taken = ["10.5.0.0/22", "10.5.4.128/25", "10.5.6.0/31", "10.5.8.0/21"]
        .map(|text| SubnetKey(nets(&[text])));
    let drawn: BTreeSet<_> = (0..3)
        .map(|n| choose(&pools, &taken, &[], n).unwrap().v4.unwrap())
        .collect();
    assert_eq!(
        drawn,
        ["10.5.5.0/24", "10.5.7.0/24", "10.5.16.0/24"]
            .map(net)
            .into()
    );
}

#[test]
fn a_full_network_says_so() {
    let pools = Dual {
        v4: Some(pool("10.5.0.0/28", 30)),
        v6: None,
    };
    let taken = ["10.5.0.4/30", "10.5.0.8/30", "10.5.0.12/30"].map(|text| SubnetKey(nets(&[text])));
    let error = choose(&pools, &taken, &[], 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no free /30 between 10.5.0.4 and 10.5.0.12 in 10.5.0.0/28, with 3 leases in the store; \
         release unused ones, or widen the range"
    );
}

#[test]
fn the_ends_of_the_address_space_are_no_trap() {
    let pools = Dual {
        v4: Some(pool("255.255.255.0/24", 30)),
        v6: Some(pool("ffff::/16", 126)),
    };
    let taken = SubnetKey(nets(&[
        "255.255.255.252/30",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126",
    ]));
    let chosen = choose(&pools, &[taken], &[], u64::MAX).unwrap();
    assert!(!keys_overlap(&SubnetKey(chosen), &taken));
}

#[test]
fn arithmetic_follows_flannel_s_examples() {
    assert_eq!(subnet_count(&net("10.3.0.0/16"), 24), 256);
    assert_eq!(
        nth_subnet(&net("10.3.0.0/16"), 24, 255),
        Some(net("10.3.255.0/24"))
    );
    assert_eq!(nth_subnet(&net("10.3.0.0/16"), 24, 256), None);
    assert_eq!(
        nth_subnet(&net("fc00::/48"), 64, 0xffff),
        Some(net("fc00:0:0:ffff::/64"))
    );
    assert_eq!(
        first_addr(&net("10.3.1.0/24")),
        Some("10.3.1.1".parse().unwrap())
    );
    assert_eq!(nth_addr(&net("10.3.1.0/24"), 256), None);
    assert_eq!(first_addr(&net("10.3.1.1/32")), None);
}

/// A small pool and leases of any length in and around it.
fn scene() -> impl Strategy<Value = (Pool, Vec<SubnetKey>, Vec<Dual<IpNet>>)> {
    let subnet = (0u32..1024, 24u8..=31).prop_map(|(n, len)| {
        IpNet::new(Ipv4Addr::from(0x0a05_0000 + n).into(), len)
            .unwrap()
            .trunc()
    });
    let lease = subnet.prop_map(|net| Dual {
        v4: Some(net),
        v6: None,
    });
    let range = (0u128..32, 0u128..32, 26u8..=28);
    let leases = || prop::collection::vec(lease.clone(), 0..12);
    (range, leases(), leases()).prop_map(|((a, b, len), taken, previous)| {
        let network = net("10.5.0.0/23");
        let at = |n| {
            nth_subnet(&network, len, n % subnet_count(&network, len))
                .unwrap()
                .addr()
        };
        let pool = Pool {
            network,
            subnet_len: len,
            min: at(a).min(at(b)),
            max: at(a).max(at(b)),
        };
        (pool, taken.into_iter().map(SubnetKey).collect(), previous)
    })
}

proptest! {
    #[test]
    fn the_choice_agrees_with_a_naive_search((pool, taken, previous) in scene(), random: u64) {
        let candidates: Vec<_> = (0..subnet_count(&pool.network, pool.subnet_len))
            .filter_map(|n| nth_subnet(&pool.network, pool.subnet_len, n))
            .filter(|net| net.addr() >= pool.min && net.addr() <= pool.max)
            .filter(|net| !taken.iter().any(|key| overlap(net, &key.0.v4.unwrap())))
            .collect();
        let wanted = previous.iter().filter_map(|nets| nets.v4).find(|net| candidates.contains(net));
        let pools = Dual { v4: Some(pool), v6: None };
        match choose(&pools, &taken, &previous, random) {
            Err(_) => prop_assert!(candidates.is_empty()),
            Ok(chosen) => {
                let chosen = chosen.v4.unwrap();
                prop_assert!(candidates.contains(&chosen));
                match wanted {
                    Some(wanted) => prop_assert_eq!(chosen, wanted),
                    None => {
                        let index = (random & 0xffff_ffff) as usize % candidates.len().min(100);
                        prop_assert_eq!(chosen, candidates[index]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_pool_counts_the_subnets_that_fit_it((pool, ..) in scene()) {
        let all = (0..subnet_count(&pool.network, pool.subnet_len))
            .filter_map(|n| nth_subnet(&pool.network, pool.subnet_len, n));
        prop_assert_eq!(pool.subnets(), all.filter(|net| pool.fits(net)).count() as u128);
    }

    #[test]
    fn prefixes_overlap_exactly_if_they_share_an_address(a: u8, b: u8, len_a in 24u8..=32, len_b in 24u8..=32) {
        let at = |n, len| IpNet::new(Ipv4Addr::from(0x0a05_0000 + u32::from(n)).into(), len).unwrap().trunc();
        let (a, b) = (at(a, len_a), at(b, len_b));
        let shared = (0..256).filter_map(|n| nth_addr(&net("10.5.0.0/24"), n))
            .any(|addr| a.contains(&addr) && b.contains(&addr));
        prop_assert_eq!(overlap(&a, &b), shared);
    }
}
