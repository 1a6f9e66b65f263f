//! Many objects, and tables that change while they are read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tweed_overlay::kernel::{Kernel, Linux};
use tweed_overlay::model::Family;
use tweed_overlay::netlink::{Netlink, RouteFilter, RouteSpec, TABLE_MAIN};
use tweed_overlay::netns::Netns;
use tweed_overlay::plan::{KernelState, Op};

use crate::host::{VTEP, add_vtep, apply_all, mac, observe, on_host, peer_ops, scope};

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

/// Changes routes of the namespace as fast as it can until told to stop.
fn churn(home: &Netns, stop: &AtomicBool) {
    let mut netlink: Netlink = home.netlink().unwrap();
    let link = netlink.link(VTEP).unwrap().unwrap();
    while !stop.load(Ordering::Relaxed) {
        for n in 0..50_u8 {
            let dst = format!("10.200.{n}.0/24").parse().unwrap();
            let route = RouteSpec::to(dst).dev(link.dev());
            netlink.put_route(&route).unwrap();
            netlink.del_route(&route).unwrap();
        }
    }
}

fn under_churn(test: impl FnOnce(&mut Linux, &KernelState) + Send) {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        apply_all(linux, &peers(1000));
        let quiet = observe(linux);
        let home = Netns::current().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| churn(&home, &stop));
            test(linux, &quiet);
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_dump_that_is_interrupted_again_and_again_still_misses_nothing() {
    under_churn(|linux, quiet| {
        let mut netlink = Netlink::open().unwrap();
        let filter = RouteFilter {
            family: Family::V4,
            table: Some(TABLE_MAIN),
        };
        let mut whole = 0;
        for _ in 0..50 {
            // The kernel may never hold still for long enough: then it is an error, not half a table.
            match netlink.routes(&filter) {
                Ok(routes) => {
                    let known = |dst| quiet.routes.keys().any(|key| key.dst == dst);
                    let ours = routes.iter().filter(|route| known(route.dst)).count();
                    assert_eq!(ours, quiet.routes.len());
                    whole += 1;
                }
                Err(error) => assert!(error.to_string().contains("kept changing"), "{error}"),
            }
        }
        assert!(whole > 0, "no dump ever came through");
        // The socket is as good as new after all those repetitions.
        linux.observe(&scope()).map(drop).unwrap_or_default();
        assert!(netlink.link(VTEP).unwrap().is_some());
    });
}
