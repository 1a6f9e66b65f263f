//! What one changed lease costs the agent before it speaks to the kernel, in clusters of growing size.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_backend::Backends;
use tweed_forward::forwarding::Forwarding;
use tweed_forward::table::Table;
use tweed_model::lease::Term;
use tweed_model::{
    ClusterSnapshot, Dual, Lease, LeaseAttrs, LocalNode, Mac, NetworkConfig, Seniority, SubnetKey,
};
use tweed_plan::{Grain, Guard, GuardVerdict, Planner, World, example};
use tweed_state::plan;

use crate::row::Row;
use tweed_lab::report;

/// Leases in the store, and the most that a change may cost among however many, milliseconds.
const SIZES: [u32; 4] = [5, 1_000, 5_000, 20_000];
const MOST: f64 = 0.5;
/// Backends, and the operations of the kernel that a peer of theirs takes. That of udp is in the workers' table alone.
const BACKENDS: [(&str, usize); 2] = [("vxlan", 5), ("udp", 0)];
/// A lease comes and goes so many times.
const ROUNDS: usize = 200;

/// Measures.
///
/// # Errors
/// When one lease more or less is not one peer more or less.
pub fn run() -> Result<Vec<Row>> {
    let backends = BACKENDS.into_iter();
    let all = backends.flat_map(|backend| SIZES.map(|leases| (backend, leases)));
    all.map(|(backend, leases)| change(backend, leases))
        .collect()
}

/// What one change costs, step by step.
struct Cost {
    total: Duration,
    snapshot: Duration,
    seniority: Duration,
    wanted: Duration,
    plan: Duration,
}

fn change((backend, expected): (&str, usize), leases: u32) -> Result<Row> {
    let world = world(backend)?;
    let lease = |number| lease(backend, number);
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
        let carried = before.forwarding.as_ref();
        let verdict = guard.check(&plan, &after, &before.state, carried);
        let end = Instant::now();
        let ops = plan.len();
        ensure!(
            ops == expected && verdict == GuardVerdict::Pass,
            "{ops} operations for one lease, {verdict:?}"
        );
        let peers = after.peers.abs_diff(before.peers);
        ensure!(peers == 1, "one lease is {peers} peers");
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
    let of = if backend == "vxlan" { "" } else { " of udp" };
    let part = |name, time| format!("{name} {}", report::duration(time));
    let mut parts = vec![
        part("snapshot", cost.snapshot),
        part("seniority", cost.seniority),
        part("wanted state", cost.wanted),
        part("plan and guard", cost.plan),
        part("all leases anew", whole),
    ];
    let table = before.forwarding.as_deref().and_then(table);
    parts.extend(table.map(|time| part("the workers' table", time)));
    Ok(Row {
        other: parts.join(", "),
        ..Row::below(
            &format!("planning one change among {leases} leases{of}"),
            cost.total.as_secs_f64() * 1e3,
            "ms",
            3,
            MOST,
        )
    })
}

/// What it takes to make the table anew by which the workers forward, as for each change.
fn table(forwarding: &Forwarding) -> Option<Duration> {
    let take = |_| {
        let start = Instant::now();
        let peers = forwarding.peers.values().cloned().collect();
        drop(black_box(Table::new(forwarding.own, peers)));
        start.elapsed()
    };
    (0..ROUNDS).map(take).min()
}

fn world(backend: &str) -> Result<World> {
    let config = json!({ "Network": "10.0.0.0/8", "Backend": { "Type": backend } });
    let (config, _) = NetworkConfig::parse(&config.to_string())?;
    let (backends, _) = Backends::parse(&config)?;
    let node = LocalNode {
        subnets: Dual::of_nets(["10.1.0.0/24".parse()?]),
        ..example::node(false)
    };
    Ok(World {
        config,
        backends,
        node,
        choices: example::choices(),
    })
}

/// The lease that came as number `number`. Subnets are handed out at random, so age and order differ.
fn lease(backend: &str, number: u32) -> Result<(SubnetKey, Arc<Lease>)> {
    const SUBNETS: u32 = 1 << 15;
    let place = number * 7919 % SUBNETS;
    let [_, _, high, low] = place.to_be_bytes();
    let subnet = format!("10.{}.{low}.0/24", 100 + high).parse()?;
    let mac = Mac([2, 0, 1, 0, high, low]).to_string();
    let key = SubnetKey(Dual::of_nets([subnet]));
    let public: IpAddr = Ipv4Addr::new(198, 19, high, low).into();
    // A lease of udp announces nothing.
    let vxlan = backend == "vxlan";
    let data = vxlan.then(|| json!({ "VNI": 1, "VtepMAC": mac }).into());
    let lease = Lease {
        key,
        attrs: LeaseAttrs {
            public: Dual::of_addrs([public]),
            backend_type: if vxlan { backend } else { "" }.to_owned(),
            data: Dual { v4: data, v6: None },
        },
        node: None,
        created: number.into(),
        term: Term::Leased,
    };
    Ok((key, lease.into()))
}
