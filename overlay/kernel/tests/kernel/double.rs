//! The fake kernel beside the real one: the same operations give the same refusals and the same state.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tweed_kernel::fake::FakeKernel;
use tweed_kernel::{Kernel, Linux};
use tweed_model::Family;
use tweed_state::{
    KernelState, Link, NextHop, NextHopObject, ObjectRef, Op, Route, RouteKey, Scope,
};

use crate::host::{ip, mac, net, on_host, overlay_route, scope, vtep};

fn families() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

/// The subnet of one of two peers, or the own one.
fn subnet(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("10.244.{number}.0/24"),
        Family::V6 => format!("fd00:10:244:{number}::/64"),
    }
}

fn public(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("192.168.0.{number}"),
        Family::V6 => format!("fd00:a::{number}"),
    }
}

fn links() -> impl Strategy<Value = (String, Link)> {
    let parts = (
        families(),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.8),
    );
    parts.prop_map(|(family, other_mac, small, up)| {
        let (name, mut link) = vtep(family);
        link.up = up;
        if other_mac {
            link.mac = mac(99);
        }
        if small {
            link.mtu -= 50;
        }
        (name, link)
    })
}

fn routes() -> impl Strategy<Value = (RouteKey, Route)> {
    (families(), 2_u8..4, 0..4, any::<bool>()).prop_map(|(family, number, kind, by_object)| {
        let dst = subnet(family, number);
        let direct = Route {
            next_hop: direct(family, number),
            protocol: 84,
        };
        let blackhole = Route {
            next_hop: NextHop::Blackhole,
            protocol: 84,
        };
        let key = RouteKey::of(net(&dst));
        let (key, mut route) = match kind {
            0 => (key, direct),
            1 => (key, blackhole),
            _ => overlay_route(&vtep(family).0, &dst),
        };
        if by_object && family == Family::V4 {
            route.next_hop = route.next_hop.referring_to(ObjectRef::Ours);
        }
        (key, route)
    })
}

fn direct(family: Family, number: u8) -> NextHop {
    NextHop::via(Some(ip(&public(family, number))), "eth0".into(), false)
}

fn nexthops() -> impl Strategy<Value = NextHopObject> {
    (any::<bool>(), 2_u8..4).prop_map(|(tunnelled, number)| {
        let (_, route) = overlay_route(&vtep(Family::V4).0, &subnet(Family::V4, number));
        let next_hop = if tunnelled {
            route.next_hop
        } else {
            direct(Family::V4, number)
        };
        next_hop.as_object().unwrap()
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let entry = || (families(), 2_u8..4, 1_u32..3);
    prop_oneof![
        1 => (families(), any::<bool>()).prop_map(|(family, on)| Op::SetTxChecksum(vtep(family).0, on)),
        3 => links().prop_map(|(name, link)| Op::AddLink(name, link)),
        1 => links().prop_map(|(name, link)| Op::SetLink(name, link)),
        1 => families().prop_map(|family| Op::DelLink(vtep(family).0)),
        1 => families().prop_map(|family| {
            Op::AddAddr(vtep(family).0.as_str().into(), net(&subnet(family, 1)).network().into())
        }),
        1 => families().prop_map(|family| {
            Op::DelAddr(vtep(family).0.as_str().into(), net(&subnet(family, 1)).network().into())
        }),
        2 => entry().prop_map(|(family, number, vtep_mac)| {
            Op::PutNeigh((vtep(family).0.as_str().into(), net(&subnet(family, number)).network()), mac(vtep_mac))
        }),
        1 => entry().prop_map(|(family, number, _)| {
            Op::DelNeigh((vtep(family).0.as_str().into(), net(&subnet(family, number)).network()))
        }),
        2 => (families(), entry()).prop_map(|(dev, (family, number, vtep_mac))| {
            Op::PutFdb((vtep(dev).0.as_str().into(), mac(vtep_mac)), ip(&public(family, number)))
        }),
        1 => entry().prop_map(|(family, number, vtep_mac)| {
            Op::DelFdb((vtep(family).0.as_str().into(), mac(vtep_mac)), ip(&public(family, number)))
        }),
        3 => nexthops().prop_map(Op::PutNextHop),
        1 => nexthops().prop_map(Op::DelNextHop),
        4 => routes().prop_map(|(key, route)| Op::PutRoute(key, route)),
        2 => routes().prop_map(|(key, route)| Op::DelRoute(key, route)),
    ]
}

/// What both hold, features included.
fn observe(linux: &mut Linux) -> KernelState {
    let scope = scope();
    let tx_checksum = scope.link_names.clone();
    let scope = Scope {
        tx_checksum,
        ..scope
    };
    linux.observe(&scope).unwrap()
}

#[test]
fn the_double_refuses_and_cascades_as_the_kernel_does() {
    let config = Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(ops(), 1..40), |ops| {
            on_host(|linux| {
                let mut double = FakeKernel {
                    state: observe(linux),
                    others: BTreeSet::from(["eth0".to_owned()]),
                    ..FakeKernel::default()
                };
                for op in &ops {
                    let real = linux.apply(op).map_err(|error| error.to_string());
                    let fake = double.apply(op).map_err(|error| error.to_string());
                    prop_assert_eq!(real.is_ok(), fake.is_ok(), "{:?} {:?}", real, fake);
                    let mut state = double.state.clone();
                    // It also has the features of its links, which are not compared here.
                    state.sysctls.retain(|key, _| !key.ends_with("/accept_ra"));
                    prop_assert_eq!(&observe(linux), &state, "after {}", op);
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
