//! Many objects, and tables that change while they are read.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::netns::Netns;
use tweed_netlink::{AddrSpec, Netlink};
use tweed_state::Op;

use crate::host::{VTEP, add_vtep, apply_all, mac, net, observe, on_host, peer_ops};

fn peers(count: u32) -> Vec<Op> {
    (0..count)
        .flat_map(|n| {
            // Subnets of a /13 without the reserved ones: 10.64.0.0/24 onwards.
            let dst = format!("10.{}.{}.0/24", 64 + n / 256, n % 256);
            let public = format!("192.168.{}.{}", 1 + n / 250, 1 + n % 250);
            peer_ops(VTEP, &dst, mac(0x100 + n), &public)
        })
        .collect()
}

#[test]
fn five_thousand_peers_are_put_observed_and_deleted() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        let ops = peers(5000);
        apply_all(linux, &ops);
        let start = Instant::now();
        let state = observe(linux);
        let took = start.elapsed();
        let counts = (state.neighs.len(), state.fdb.len(), state.routes.len());
        assert_eq!(counts, (5000, 5000, 5000));
        assert!(took < Duration::from_secs(5), "observed in {took:?}");
        for (key, route) in &state.routes {
            apply_all(linux, [&Op::DelRoute(*key, route.clone())]);
        }
        assert!(observe(linux).routes.is_empty());
    });
}

/// Adds and removes an address of the uplink so many times.
fn churn(home: &Netns, times: u32) {
    let mut netlink = home.netlink().unwrap();
    let link = netlink.link("eth0").unwrap().unwrap();
    let spec = AddrSpec::plain(net("10.200.0.1/32"));
    for _ in 0..times {
        netlink.put_addr(link.dev(), &spec).unwrap();
        netlink.del_addr(link.dev(), spec.net).unwrap();
    }
}

#[test]
fn a_dump_that_is_interrupted_is_repeated_until_nothing_is_missing() {
    on_host(|_| {
        // Enough addresses for several datagrams, so that a change can come between two.
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("eth0").unwrap().unwrap();
        for n in 0..2000_u32 {
            let addr = IpAddr::from((0x0a96_0000 + n).to_be_bytes());
            let spec = AddrSpec::plain(addr.into());
            netlink.put_addr(link.dev(), &spec).unwrap();
        }
        let home = Netns::current().unwrap();
        let start = Instant::now();
        // From few changes, which interrupt no dump, to so many that most dumps are interrupted.
        for times in (0..12).map(|n| 1 << n).cycle() {
            let elapsed = start.elapsed();
            assert!(
                elapsed < Duration::from_secs(60),
                "no dump was interrupted and came through"
            );
            let before = netlink.interrupted_dumps();
            let dumped = std::thread::scope(|scope| {
                scope.spawn(|| churn(&home, times));
                netlink.addrs(None)
            });
            match dumped {
                Ok(addrs) => {
                    let ours = addrs.iter().filter(|addr| in_range(&addr.net)).count();
                    assert_eq!(ours, 2000);
                    if netlink.interrupted_dumps() > before {
                        break;
                    }
                }
                // Each repetition may be interrupted: then the result is an error, not a part of the table.
                Err(error) => assert!(error.to_string().contains("kept changing"), "{error}"),
            }
        }
        // The socket is as good as new after all those repetitions.
        assert!(netlink.link("eth0").unwrap().is_some());
    });
}

fn in_range(addr: &IpNet) -> bool {
    net("10.150.0.0/16").contains(addr)
}
