use proptest::prelude::*;
use serde_json::json;
use tweed_model::lease::Term;
use tweed_model::{BackendData, Dual, LeaseAttrs, Mac};

use super::*;
use crate::example;

/// Networks to try: what stands in `Backend`, and whether there is IPv6.
const NETWORKS: [(&str, bool); 8] = [
    (r#"{"Type":"vxlan"}"#, false),
    (r#"{"Type":"vxlan"}"#, true),
    (r#"{"Type":"vxlan","DirectRouting":true}"#, true),
    (r#"{"Type":"host-gw"}"#, true),
    (r#"{"Type":"udp"}"#, false),
    (r#"{"Type":"vxlan","Accept":[{"Type":"udp"}]}"#, true),
    (r#"{"Type":"udp","Accept":[{"Type":"vxlan"}]}"#, false),
    (r#"{"Type":"alloc"}"#, false),
];

fn world((backend, dual): (&str, bool)) -> World {
    let text = format!(
        r#"{{"Network":"10.244.0.0/16","EnableIPv6":{dual},"IPv6Network":"fd00:10:244::/48","Backend":{backend}}}"#
    );
    let (config, _) = NetworkConfig::parse(&text).unwrap();
    let (backends, _) = Backends::parse(&config).unwrap();
    World {
        config,
        backends,
        node: example::node(dual),
        choices: example::choices(),
    }
}

/// A lease that may be anything: sound, in conflict with others, or of no use.
#[derive(Clone, Debug)]
struct Seed {
    number: u8,
    length: u8,
    public: u8,
    near: bool,
    mac: u8,
    kind: &'static str,
    dual: bool,
    created: u64,
    reserved: bool,
}

fn seed() -> impl Strategy<Value = Seed> {
    let length = prop_oneof![12 => Just(24), 1 => Just(23), 1 => Just(20)];
    let kind = prop_oneof![6 => Just("vxlan"), 3 => Just("host-gw"), 3 => Just(""), 1 => Just("wireguard")];
    let (number, public, mac) = (1..40_u8, 1..60_u8, 1..60_u8);
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1));
    (number, length, public, mac, kind, 1..9_u64, flags).prop_map(
        |(number, length, public, mac, kind, created, (near, dual, reserved))| Seed {
            number,
            length,
            public,
            near,
            mac,
            kind,
            dual,
            created,
            reserved,
        },
    )
}

fn lease(seed: &Seed) -> Arc<Lease> {
    let net = format!("10.244.{}.0/{}", seed.number, seed.length);
    let net: ipnet::IpNet = net.parse().unwrap();
    let v6 = || format!("fd00:10:244:{}::/64", seed.number).parse().unwrap();
    let near = if seed.near { 0 } else { 1 };
    let data = match seed.kind {
        "vxlan" => Some(json!({ "VNI": 1, "VtepMAC": Mac([2, 0, 0, 0, 0, seed.mac]).to_string() })),
        "" if seed.dual => Some(json!({ "Port": 8285 })),
        _ => None,
    };
    let data = data.map(BackendData::from);
    Arc::new(Lease {
        key: SubnetKey(Dual {
            v4: Some(net.trunc()),
            v6: seed.dual.then(v6),
        }),
        attrs: LeaseAttrs {
            public: Dual {
                v4: Some([198, 18, near, seed.public].into()),
                v6: seed.dual.then(|| {
                    let net = if seed.near { "fd00:a" } else { "fd00:b" };
                    format!("{net}::{}", seed.public).parse().unwrap()
                }),
            },
            backend_type: seed.kind.to_owned(),
            data: Dual {
                v6: data.clone().filter(|_| seed.dual),
                v4: data.filter(|_| !seed.kind.is_empty()),
            },
        },
        node: None,
        created: seed.created,
        term: if seed.reserved {
            Term::Reserved
        } else {
            Term::Leased
        },
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(Seed),
    /// Takes out the lease at this place.
    Remove(usize),
    /// Another announcement with the lease at this place.
    Change(usize, Seed),
    Sync(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => seed().prop_map(Step::Put),
        3 => (0..64_usize).prop_map(Step::Remove),
        3 => (0..64_usize, seed()).prop_map(|(nth, seed)| Step::Change(nth, seed)),
        1 => any::<bool>().prop_map(Step::Sync),
    ]
}

fn take(step: Step, snapshot: &mut ClusterSnapshot) {
    let nth = |leases: &SharedMap<SubnetKey, Arc<Lease>>, nth: usize| {
        leases.values().nth(nth % leases.len().max(1)).cloned()
    };
    match step {
        Step::Put(seed) => {
            let lease = lease(&seed);
            snapshot.leases.insert(lease.key, lease);
        }
        Step::Remove(place) => {
            if let Some(gone) = nth(&snapshot.leases, place) {
                snapshot.leases.remove(&gone.key);
            }
        }
        Step::Change(place, seed) => {
            if let Some(before) = nth(&snapshot.leases, place) {
                let changed = Lease {
                    key: before.key,
                    ..Lease::clone(&lease(&seed))
                };
                snapshot.leases.insert(before.key, changed.into());
            }
        }
        Step::Sync(in_sync) => {
            snapshot.in_sync = in_sync;
            snapshot.listings += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_carried_on_is_what_is_computed_anew(
        network in proptest::sample::select(NETWORKS.to_vec()),
        first in proptest::collection::vec(seed(), 0..20),
        steps in proptest::collection::vec(proptest::collection::vec(step(), 0..3), 1..12),
    ) {
        let world = world(network);
        let (mut planner, mut seniority) = (Planner::default(), Seniority::default());
        let mut snapshot = ClusterSnapshot { in_sync: true, listings: 1, ..ClusterSnapshot::default() };
        for seed in first {
            take(Step::Put(seed), &mut snapshot);
        }
        for steps in steps {
            for step in steps {
                take(step, &mut snapshot);
            }
            seniority.follow(&snapshot);
            let (carried_on, grain) = planner.follow(&world, &snapshot, &seniority);
            let anew = world.desired(&snapshot, &seniority);
            prop_assert_eq!(&*carried_on, &anew, "by {:?}", grain);
        }
    }
}

/// A sound lease, one of many.
fn usual(number: u8, kind: &'static str) -> Arc<Lease> {
    lease(&Seed {
        number,
        length: 24,
        public: number,
        near: true,
        mac: number,
        kind,
        dual: false,
        created: number.into(),
        reserved: false,
    })
}

#[test]
fn a_lease_that_comes_changes_or_goes_costs_itself_alone() {
    let networks = [
        (0, "vxlan"),
        (2, "vxlan"),
        (3, "host-gw"),
        (4, ""),
        (5, ""),
        (5, "vxlan"),
        (6, ""),
    ];
    for (network, kind) in networks {
        let world = world(NETWORKS[network]);
        let seniority = Seniority::default();
        let leases = (3..101).map(|number| (usual(number, kind).key, usual(number, kind)));
        let mut snapshot = ClusterSnapshot {
            leases: leases.collect(),
            in_sync: true,
            ..ClusterSnapshot::default()
        };
        let mut planner = Planner::default();
        let mut follow = |snapshot: &ClusterSnapshot| planner.follow(&world, snapshot, &seniority);
        let (first, grain) = follow(&snapshot);
        assert_eq!((first.peers, grain), (98, Grain::All));
        let new = usual(200, kind);
        snapshot.leases.insert(new.key, Arc::clone(&new));
        let (joined, grain) = follow(&snapshot);
        assert_eq!((joined.peers, grain), (99, Grain::Changes));
        let mut moved = Lease::clone(&new);
        moved.attrs.public.v4 = Some([198, 18, 0, 250].into());
        snapshot.leases.insert(new.key, moved.into());
        assert_eq!(follow(&snapshot).1, Grain::Changes);
        snapshot.leases.remove(&new.key);
        let (left, grain) = follow(&snapshot);
        assert_eq!((&*left, grain), (&*first, Grain::Changes));
        assert!(
            Arc::ptr_eq(&follow(&snapshot).0, &left),
            "nothing has changed"
        );
    }
}

#[test]
fn where_others_matter_all_leases_are_computed() {
    let world = world(NETWORKS[0]);
    let seniority = Seniority::default();
    let all: Vec<_> = (3..101).map(|number| usual(number, "vxlan")).collect();
    let snapshot = ClusterSnapshot {
        leases: all
            .iter()
            .map(|lease| (lease.key, Arc::clone(lease)))
            .collect(),
        in_sync: true,
        ..ClusterSnapshot::default()
    };
    let grain = |change: &dyn Fn(&mut Lease)| {
        let mut planner = Planner::default();
        planner.follow(&world, &snapshot, &seniority);
        let mut new = Lease::clone(&usual(200, "vxlan"));
        change(&mut new);
        let mut snapshot = snapshot.clone();
        snapshot.leases.insert(new.key, new.into());
        planner.follow(&world, &snapshot, &seniority).1
    };
    assert_eq!(grain(&|_| ()), Grain::Changes);
    assert_eq!(grain(&|new| new.attrs = all[5].attrs.clone()), Grain::All);
    assert_eq!(
        grain(&|new| new.attrs.public = all[5].attrs.public),
        Grain::All
    );
    assert_eq!(
        grain(&|new| new.attrs.data = all[5].attrs.data.clone()),
        Grain::All
    );
    let key = |text: &str| text.parse::<SubnetKey>().unwrap();
    assert_eq!(
        grain(&|new| new.key = key("10.244.64.0-20")),
        Grain::All,
        "overlap"
    );
    assert_eq!(
        grain(&|new| new.key = key("10.244.240.0-20")),
        Grain::All,
        "length"
    );
}
