//! What one changed lease costs the agent before it speaks to the kernel, in clusters of growing size.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_backend::Backends;
use tweed_model::lease::Term;
use tweed_model::{
    ClusterSnapshot, Dual, Host, Identity, Lease, LeaseAttrs, LocalNode, Mac, NetworkConfig,
    Seniority, SubnetKey, Uplink,
};
use tweed_nft::Masquerade;
use tweed_plan::{Choices, Grain, Guard, GuardVerdict, Planner, World};
use tweed_state::plan;

use crate::row::Row;
use tweed_lab::report;

/// Leases in the store, and the most that a change may cost among however many, milliseconds.
const SIZES: [u32; 4] = [5, 1_000, 5_000, 20_000];
const MOST: f64 = 0.5;
/// A lease comes and goes so many times.
const ROUNDS: usize = 200;

/// Measures.
///
/// # Errors
/// When one lease more or less is not one peer more or less.
pub fn run() -> Result<Vec<Row>> {
    SIZES.into_iter().map(change).collect()
}

/// What one change costs, step by step.
struct Cost {
    total: Duration,
    snapshot: Duration,
    seniority: Duration,
    wanted: Duration,
    plan: Duration,
}

fn change(leases: u32) -> Result<Row> {
    let world = world()?;
    let (mut planner, mut guard) = (Planner::default(), Guard::default());
    let mut seniority = Seniority::default();
    let mut store = ClusterSnapshot {
        leases: (1..=leases).map(lease).collect::<Result<_>>()?,
        in_sync: true,
        listings: 1,
        ..ClusterSnapshot::default()
    };
    let (key, newcomer) = lease(leases + 1)?;
    seniority.follow(&store);
    let (mut before, _) = planner.follow(&world, &store, &seniority);
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        if store.leases.remove(&key).is_none() {
            store.leases.insert(key, Arc::clone(&newcomer));
        }
        let start = Instant::now();
        let snapshot = store.clone();
        let cloned = Instant::now();
        seniority.follow(&snapshot);
        let followed = Instant::now();
        let (after, grain) = planner.follow(&world, &snapshot, &seniority);
        let computed = Instant::now();
        let plan = plan(&after, &before.state);
        let verdict = guard.check(&plan, &after, &before.state, None);
        let end = Instant::now();
        let ops = plan.len();
        ensure!(
            ops == 5 && verdict == GuardVerdict::Pass,
            "{ops} operations for one lease, {verdict:?}"
        );
        ensure!(grain == Grain::Changes, "all leases were computed");
        ensure!(after.refused.is_empty(), "{:?}", after.refused);
        costs.push(Cost {
            total: end - start,
            snapshot: cloned - start,
            seniority: followed - cloned,
            wanted: computed - followed,
            plan: end - computed,
        });
        before = after;
    }
    // Nothing here waits for anything: whatever takes longer than the fastest round is other programs' work.
    let cost = costs.into_iter().min_by_key(|cost| cost.total);
    let cost = cost.context("a measurement has rounds")?;
    let start = Instant::now();
    let (anew, _) = Planner::default().follow(&world, &store, &seniority);
    let whole = start.elapsed();
    ensure!(*anew == *before, "carried on, it is another state");
    let part = |name, time| format!("{name} {}", report::duration(time));
    let parts = [
        part("snapshot", cost.snapshot),
        part("seniority", cost.seniority),
        part("wanted state", cost.wanted),
        part("plan and guard", cost.plan),
        part("all leases anew", whole),
    ];
    Ok(Row {
        other: parts.join(", "),
        ..Row::below(
            &format!("planning one change among {leases} leases"),
            cost.total.as_secs_f64() * 1e3,
            "ms",
            3,
            MOST,
        )
    })
}

fn world() -> Result<World> {
    let config = json!({ "Network": "10.0.0.0/8", "Backend": { "Type": "vxlan" } });
    let (config, _) = NetworkConfig::parse(&config.to_string())?;
    let (backends, _) = Backends::parse(&config)?;
    let addrs = Dual::of_addrs([Ipv4Addr::new(198, 18, 0, 1).into()]);
    let node = LocalNode {
        uplink: Uplink {
            name: "eth0".to_owned(),
            index: 2,
            mtu: 1500,
            addrs,
            onlink: vec!["198.18.0.0/24".parse()?],
            learned_default: false,
        },
        public: addrs,
        identity: Identity {
            vtep_mac: Mac([2, 0, 0, 0, 0, 1]),
            vtep_mac_v6: Mac([2, 0, 0, 0, 0, 6]),
        },
        subnets: Dual::of_nets(["10.1.0.0/24".parse()?]),
        host: Host::default(),
    };
    let choices = Choices {
        table: "tweed".to_owned(),
        masquerade: Some(Masquerade { fully_random: true }),
        forward_accept: true,
        allow_list: true,
        check_sources: true,
        way_back: true,
        nexthops: true,
        blackhole: true,
        bridge_filter: false,
        former: BTreeSet::new(),
    };
    Ok(World {
        config,
        backends,
        node,
        choices,
    })
}

/// The lease that came as number `number`. Subnets are handed out at random, so age and order differ.
fn lease(number: u32) -> Result<(SubnetKey, Arc<Lease>)> {
    const SUBNETS: u32 = 1 << 15;
    let place = number * 7919 % SUBNETS;
    let [_, _, high, low] = place.to_be_bytes();
    let subnet = format!("10.{}.{low}.0/24", 100 + high).parse()?;
    let mac = Mac([2, 0, 1, 0, high, low]).to_string();
    let key = SubnetKey(Dual::of_nets([subnet]));
    let public: IpAddr = Ipv4Addr::new(198, 19, high, low).into();
    let data = json!({ "VNI": 1, "VtepMAC": mac });
    let lease = Lease {
        key,
        attrs: LeaseAttrs {
            public: Dual::of_addrs([public]),
            backend_type: "vxlan".to_owned(),
            data: Dual {
                v4: Some(data.into()),
                v6: None,
            },
        },
        node: None,
        created: number.into(),
        term: Term::Leased,
    };
    Ok((key, lease.into()))
}
