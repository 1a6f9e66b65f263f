//! IPv4 routes to peers over one VXLAN device: those by nexthop objects beside plain ones. Made, read, and removed with
//! their device.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use tweed_kernel::{Kernel, Linux};
use tweed_lab::topology::{Host, Topology, UPLINK};
use tweed_model::Mac;
use tweed_state::{
    Desired, KernelState, Link, LinkKind, NextHop, Plan, ROUTE_PROTOCOL, Route, RouteKey, Scope,
    Vxlan, plan,
};

use crate::row::Row;

const SIZES: [u32; 3] = [1000, 5000, 20_000];
const ROUNDS: usize = 3;
const DEV: &str = "flannel.1";

/// Measures both kinds of routes.
///
/// # Errors
/// When the kernel refuses an operation, or holds something else afterwards.
pub fn run() -> Result<Vec<Row>> {
    let lab = Topology::hosts(1).build()?;
    let host = lab.hosts.first().context("one host")?;
    let mut rows = Vec::new();
    for size in SIZES {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (by_objects, rounds) in [true, false].into_iter().zip(&mut rounds) {
                rounds.push(measure(host, size, by_objects)?);
            }
        }
        let [objects, plain] = rounds;
        type Part = fn(&Times) -> Duration;
        let parts: [(&str, Part); 3] = [
            ("made", |times| times.made),
            ("read, a pass with nothing to do", |times| times.read),
            ("removed with their device", |times| times.removed),
        ];
        for (what, part) in parts {
            let least = |rounds: &[Times]| rounds.iter().map(part).min().context("rounds");
            let (objects, plain) = (least(&objects)?, least(&plain)?);
            let what = format!("{size} routes by nexthop objects: {what}");
            rows.push(Row::at_most(&what, objects, ("plain routes", plain), 1.0).without_goal());
        }
    }
    Ok(rows)
}

struct Times {
    made: Duration,
    read: Duration,
    removed: Duration,
}

fn measure(host: &Host, size: u32, by_objects: bool) -> Result<Times> {
    let local = host.v4();
    host.place().run(|| {
        let mut linux = Linux::open()?;
        let mut want = wanted(size, local)?;
        let device = Desired {
            state: KernelState {
                links: want.state.links.clone(),
                ..KernelState::default()
            },
            ..want.clone()
        };
        let have = linux.observe(&want.scope)?;
        apply(&mut linux, &plan(&device, &have))?;
        if by_objects {
            want.state.use_nexthops();
        }
        let start = Instant::now();
        apply(&mut linux, &plan(&want, &device.state))?;
        let made = start.elapsed();
        let start = Instant::now();
        let have = linux.observe(&want.scope)?;
        let due = plan(&want, &have);
        let read = start.elapsed();
        ensure!(due.is_empty(), "{:?}", due.ops().next());
        let nothing = plan(&Desired::nothing(want.scope.clone()), &have);
        let start = Instant::now();
        apply(&mut linux, &nothing)?;
        let removed = start.elapsed();
        Ok(Times {
            made,
            read,
            removed,
        })
    })
}

fn apply(linux: &mut Linux, plan: &Plan) -> Result<()> {
    for op in plan.ops() {
        linux.apply(op)?;
    }
    Ok(())
}

/// A device, and so many routes over it.
fn wanted(size: u32, local: std::net::IpAddr) -> Result<Desired> {
    let link = Link {
        kind: LinkKind::Vxlan(Vxlan {
            vni: 1,
            port: 8472,
            local,
            underlay: UPLINK.to_owned(),
            learning: false,
            gbp: false,
        }),
        mtu: 1450,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        up: true,
        alias: String::new(),
    };
    let mut routes = Vec::new();
    for number in 0..size {
        let base = Ipv4Addr::from(0x0a64_0000 + (number << 8));
        let route = Route {
            next_hop: NextHop::via(Some(base.into()), DEV.into(), true),
            protocol: ROUTE_PROTOCOL,
        };
        routes.push((RouteKey::of(Ipv4Net::new(base, 24)?.into()), route));
    }
    Ok(Desired {
        state: KernelState {
            links: [(DEV.to_owned(), link)].into(),
            routes: routes.into_iter().collect(),
            ..KernelState::default()
        },
        scope: Scope {
            link_names: BTreeSet::from([DEV.to_owned()]),
            uplink: UPLINK.to_owned(),
            networks: vec!["10.0.0.0/8".parse()?],
            table: "tweed".to_owned(),
            ..Scope::default()
        },
        prune: true,
        ..Desired::default()
    })
}
