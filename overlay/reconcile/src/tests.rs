mod carried;
mod fights;
mod former;
mod nexthops;

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use tweed_backend::Backends;
use tweed_kernel::fake::FakeKernel;
use tweed_model::lease::Term;
use tweed_model::{
    ClusterSnapshot, Dual, Lease, LeaseAttrs, Mac, NetworkConfig, Seniority, SubnetKey,
};
use tweed_plan::{Choices, desired, example};

/// One peer of a random cluster.
#[derive(Clone, Debug)]
struct PeerSeed {
    number: u8,
    mac: u8,
    near: bool,
}

#[derive(Clone, Debug, Default)]
struct Cluster {
    vni: u32,
    direct: bool,
    host_gw: bool,
    nexthops: bool,
    dual: bool,
    tx_checksum: Option<&'static str>,
    peers: Vec<PeerSeed>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn lease(seed: &PeerSeed, cluster: &Cluster) -> Lease {
    let network = if seed.near { "198.18.0" } else { "198.19.0" };
    let data = serde_json::json!({"VNI": cluster.vni, "VtepMAC": Mac([2, 9, 9, 9, 9, seed.mac]).to_string()});
    let v6 = cluster
        .dual
        .then(|| format!("fd00:10:244:{}::/64", seed.number).parse().unwrap());
    let public_v6 = cluster
        .dual
        .then(|| ip(&format!("fd00:a::{}", seed.number)));
    Lease {
        key: SubnetKey(Dual {
            v4: Some(format!("10.244.{}.0/24", seed.number).parse().unwrap()),
            v6,
        }),
        attrs: LeaseAttrs {
            public: Dual {
                v4: Some(ip(&format!("{network}.{}", seed.number))),
                v6: public_v6,
            },
            backend_type: if cluster.host_gw { "host-gw" } else { "vxlan" }.into(),
            data: Dual {
                v4: Some(data.clone().into()),
                v6: cluster.dual.then_some(data.into()),
            },
        },
        node: None,
        created: seed.number.into(),
        term: Term::Leased,
    }
}

fn want(cluster: &Cluster, listings: u64) -> Arc<Desired> {
    let backend = match cluster.host_gw {
        true => r#"{"Type":"host-gw"}"#.to_owned(),
        false => serde_json::json!({
            "Type": "vxlan", "VNI": cluster.vni, "DirectRouting": cluster.direct,
            "TxChecksum": cluster.tx_checksum,
        })
        .to_string(),
    };
    let text = format!(
        r#"{{"Network":"10.244.0.0/16","EnableIPv6":{},"IPv6Network":"fd00:10:244::/48","Backend":{backend}}}"#,
        cluster.dual
    );
    let (config, _) = NetworkConfig::parse(&text).unwrap();
    let (backend, _) = Backends::parse(&config).unwrap();
    let node = example::node(cluster.dual);
    let choices = Choices {
        nexthops: cluster.nexthops,
        blackhole: false,
        ..example::choices()
    };
    let leases = cluster.peers.iter().map(|seed| lease(seed, cluster));
    let leases = leases.map(|lease| (lease.key, lease.into())).collect();
    let snapshot = ClusterSnapshot {
        leases,
        in_sync: true,
        listings,
        ..ClusterSnapshot::default()
    };
    Arc::new(desired(
        &config,
        &backend,
        &node,
        &choices,
        &snapshot,
        &Seniority::default(),
    ))
}

fn kernel() -> FakeKernel {
    FakeKernel {
        others: BTreeSet::from(["eth0".to_owned()]),
        ..FakeKernel::default()
    }
}

/// What a kernel that is exactly right holds. The accept rules in others' chains stand only where such a chain is.
fn right(want: &Desired) -> KernelState {
    KernelState {
        foreign_forward: Default::default(),
        ..want.state.clone()
    }
}

/// What the kernel holds of what is looked after: host-wide sysctls and features of devices stay as they are when they are
/// no longer wanted.
fn held(reconciler: &Reconciler<FakeKernel>, want: &Desired) -> KernelState {
    let mut have = reconciler.kernel.state.clone();
    have.sysctls
        .retain(|key, _| want.state.sysctls.contains_key(key));
    have.tx_checksum
        .retain(|name, _| want.state.tx_checksum.contains_key(name));
    have
}

/// Full passes until one is clean and has nothing to do; a second list comes between any two.
fn settle(reconciler: &mut Reconciler<FakeKernel>, cluster: &Cluster) -> Arc<Desired> {
    for listings in 1..40 {
        reconciler.confirm();
        let want = want(cluster, listings);
        let outcome = reconciler.full(&want, Instant::now()).unwrap();
        if outcome.is_clean() && outcome.done.is_empty() {
            return want;
        }
    }
    panic!("no end: {:?}", reconciler.kernel.state);
}

fn seeds() -> impl Strategy<Value = Vec<PeerSeed>> {
    let seed = (2_u8..40, 1_u8..40, any::<bool>());
    prop::collection::vec(
        seed.prop_map(|(number, mac, near)| PeerSeed { number, mac, near }),
        0..12,
    )
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let tx_checksum = prop::sample::select(vec![None, Some("on"), Some("off")]);
    let switches = (
        1_u32..3,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        tx_checksum,
    );
    (switches, seeds()).prop_map(
        |((vni, direct, host_gw, nexthops, dual, tx_checksum), peers)| Cluster {
            vni,
            direct,
            host_gw,
            nexthops,
            dual,
            tx_checksum,
            peers,
        },
    )
}

/// Somebody removes things: each number picks one object.
fn damage(kernel: &mut FakeKernel, picks: &[u8]) {
    for pick in picks {
        let nth = usize::from(*pick) / 8;
        let state = &mut kernel.state;
        match pick % 8 {
            0 => {
                let key = state.routes.keys().nth(nth).copied();
                key.and_then(|key| state.routes.remove(&key));
            }
            1 => {
                let key = state.neighs.keys().nth(nth).cloned();
                key.and_then(|key| state.neighs.remove(&key));
            }
            2 => {
                let key = state.fdb.keys().nth(nth).cloned();
                key.and_then(|key| state.fdb.remove(&key));
            }
            3 => state.addrs.clear(),
            4 => state.firewall = None,
            5 => {
                let object = state.nexthops.iter().nth(nth).cloned();
                object.iter().for_each(|object| kernel.del_nexthop(object));
            }
            6 => state.tx_checksum.values_mut().for_each(|on| *on = !*on),
            _ => {
                if let Some(name) = state.links.keys().nth(nth % 2).cloned() {
                    kernel.del_link(&name);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn one_pass_converges_from_any_earlier_cluster(before in clusters(), after in clusters()) {
        let mut reconciler = Reconciler::new(kernel());
        settle(&mut reconciler, &before);
        reconciler.confirm();
        let want = want(&after, 99);
        let outcome = reconciler.full(&want, Instant::now()).unwrap();
        prop_assert!(outcome.is_clean(), "{outcome:?}");
        prop_assert_eq!(held(&reconciler, &want), right(&want));
        let again = reconciler.full(&want, Instant::now()).unwrap();
        prop_assert!(again.done.is_empty(), "{:?}", again.done);
    }

    #[test]
    fn before_the_store_is_in_sync_nothing_of_the_peers_is_taken_away(before in clusters(), peers in seeds()) {
        let mut reconciler = Reconciler::new(kernel());
        settle(&mut reconciler, &before);
        let there = reconciler.kernel.state.clone();
        let unsure = Arc::new(Desired { prune: false, ..(*want(&Cluster { peers, ..before }, 99)).clone() });
        reconciler.full(&unsure, Instant::now()).unwrap();
        let state = &reconciler.kernel.state;
        prop_assert!(there.routes.keys().all(|key| state.routes.contains_key(key)));
        prop_assert!(there.fdb.keys().all(|key| state.fdb.contains_key(key)));
        for (name, set) in &there.firewall.as_ref().unwrap().sets {
            let now = &state.firewall.as_ref().unwrap().sets[name];
            prop_assert_eq!(set.elements.difference(&now.elements).next(), None, "{}", name);
        }
        prop_assert!(reconciler.fast(&unsure, Instant::now()).is_none(), "a full pass is due");
    }

    #[test]
    fn a_fast_pass_ends_where_a_full_one_does(before in clusters(), peers in seeds()) {
        let mut fast = Reconciler::new(kernel());
        settle(&mut fast, &before);
        let after = Cluster { peers, ..before };
        let want = want(&after, 99);
        let outcome = fast.fast(&want, Instant::now()).expect("it knows what it applied");
        if outcome.held.is_none() {
            prop_assert_eq!(held(&fast, &want), right(&want));
        } else {
            prop_assert!(fast.fast(&want, Instant::now()).is_none(), "a full pass is due");
        }
    }

    #[test]
    fn any_damage_is_repaired_by_one_pass(cluster in clusters(), picks in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut reconciler = Reconciler::new(kernel());
        let want = settle(&mut reconciler, &cluster);
        damage(&mut reconciler.kernel, &picks);
        let outcome = reconciler.full(&want, Instant::now()).unwrap();
        prop_assert!(outcome.is_clean(), "{outcome:?}");
        prop_assert_eq!(held(&reconciler, &want), right(&want));
    }

    #[test]
    fn it_converges_whatever_fails_on_the_way(
        before in clusters(), after in clusters(), faults in prop::collection::btree_set(0_usize..120, 0..30),
    ) {
        let mut reconciler = Reconciler::new(FakeKernel { faults, ..kernel() });
        settle(&mut reconciler, &before);
        let want = settle(&mut reconciler, &after);
        prop_assert_eq!(held(&reconciler, &want), right(&want));
    }

    #[test]
    fn wanting_nothing_removes_everything_of_ours(cluster in clusters()) {
        let mut reconciler = Reconciler::new(kernel());
        let want = settle(&mut reconciler, &cluster);
        reconciler.confirm();
        let nothing = Arc::new(Desired::nothing(want.scope.clone()));
        let outcome = reconciler.full(&nothing, Instant::now()).unwrap();
        prop_assert!(outcome.is_clean(), "{outcome:?}");
        let sysctls = reconciler.kernel.state.sysctls.clone();
        prop_assert_eq!(&reconciler.kernel.state, &KernelState { sysctls, ..KernelState::default() });
    }

    #[test]
    fn no_operation_names_a_link_that_is_not_there_yet(before in clusters(), after in clusters()) {
        let mut reconciler = Reconciler::new(kernel());
        settle(&mut reconciler, &before);
        let want = want(&after, 99);
        let plan = reconciler.preview(&want).unwrap();
        let mut links: BTreeSet<String> = reconciler.kernel.state.links.keys().cloned().collect();
        links.insert("eth0".into());
        for op in plan.ops() {
            match op {
                Op::AddLink(name, _) => drop(links.insert(name.clone())),
                Op::DelLink(name) => drop(links.remove(name)),
                other => prop_assert!(other.link().is_none_or(|link| links.contains(link)), "{other}"),
            }
        }
    }
}

#[test]
fn a_failed_link_skips_its_own_operations_and_no_others() {
    let near = PeerSeed {
        number: 2,
        mac: 2,
        near: true,
    };
    let far = PeerSeed {
        number: 3,
        mac: 3,
        near: false,
    };
    let cluster = Cluster {
        vni: 1,
        direct: true,
        peers: vec![near, far],
        ..Cluster::default()
    };
    let mut reconciler = Reconciler::new(FakeKernel {
        faults: BTreeSet::from([0]),
        ..kernel()
    });
    let outcome = reconciler.full(&want(&cluster, 1), Instant::now()).unwrap();
    assert!(outcome.blocked, "no pod can be reached");
    let [failure] = &outcome.failed[..] else {
        panic!("{:?}", outcome.failed);
    };
    assert!(failure.op.starts_with("add link flannel.1"), "{failure:?}");
    assert!(!failure.error.contains("flannel.1"), "{failure:?}");
    assert_eq!(
        outcome.skipped, 5,
        "switch, address, neighbour, FDB entry and route over the link"
    );
    assert!(
        outcome.done.iter().any(|op| op.contains("10.244.2.0/24")),
        "the direct route stands"
    );
}
