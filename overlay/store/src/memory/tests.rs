use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::*;
use tweed_model::{Dual, LeaseAttrs, Pool};

fn request(n: u8, mac: &str) -> Request {
    Request {
        pools: Dual {
            v4: Some(Pool {
                network: "10.5.0.0/16".parse().unwrap(),
                subnet_len: 24,
                min: "10.5.1.0".parse().unwrap(),
                max: "10.5.255.0".parse().unwrap(),
            }),
            v6: None,
        },
        attrs: LeaseAttrs {
            public: Dual::of_addrs([IpAddr::from([192, 168, 0, n])]),
            backend_type: "vxlan".into(),
            data: Dual {
                v4: Some(json!({"VtepMAC": mac})),
                v6: None,
            },
        },
        previous: Vec::new(),
        avoid: Vec::new(),
        held: None,
        inhabited: Dual::default(),
        also: Vec::new(),
        ttl: Duration::from_secs(60),
    }
}

struct Kept {
    standing: watch::Receiver<Holding>,
    task: tokio::task::JoinHandle<Ended>,
}

impl Kept {
    fn new(store: &Memory, lease: &Lease) -> Self {
        let (sender, standing) = watch::channel(Holding::Unsure {
            reason: String::new(),
        });
        let (store, lease) = (store.clone(), lease.clone());
        Self {
            standing,
            task: tokio::spawn(async move { store.keep(&lease, sender).await }),
        }
    }

    async fn until(&mut self, what: impl Fn(&Holding) -> bool) {
        let reached = self.standing.wait_for(|holding| what(holding));
        tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn nodes_of_one_network_share_it() {
    let (a, network) = (Memory::new(), ClusterSnapshot::default());
    let b = a.node();
    let (out, mut seen) = watch::channel(Arc::new(network));
    let follower = b.clone();
    tokio::spawn(async move { follower.follow(out, Arc::default()).await });
    let first = a.acquire(&request(1, "a")).await.unwrap();
    let second = b.acquire(&request(2, "b")).await.unwrap();
    assert_ne!(first.key, second.key);
    seen.wait_for(|snapshot| snapshot.leases.len() == 2 && snapshot.in_sync)
        .await
        .unwrap();
    a.release(&first.key).await.unwrap();
    seen.wait_for(|snapshot| snapshot.leases.len() == 1)
        .await
        .unwrap();
    assert!(matches!(
        a.release(&first.key).await,
        Err(StoreError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_kept_lease_is_restored_and_given_up_to_another_holder() {
    let store = Memory::new();
    let lease = store.acquire(&request(1, "a")).await.unwrap();
    let mut kept = Kept::new(&store, &lease);
    kept.until(|holding| *holding == Holding::Held).await;
    store.release(&lease.key).await.unwrap();
    kept.until(|holding| matches!(holding, Holding::Lost { .. } | Holding::Held))
        .await;
    tokio::task::yield_now().await;
    assert!(store.list().await.unwrap().leases.contains_key(&lease.key));
    let other = request(9, "b").attrs;
    store.put(Lease {
        attrs: other.clone(),
        ..lease
    });
    assert_eq!(kept.task.await.unwrap(), Ended::Taken(other.public));
}

#[tokio::test]
async fn only_a_lease_that_nobody_keeps_goes_to_a_node_with_the_same_address() {
    let store = Memory::new();
    let first = store.acquire(&request(1, "a")).await.unwrap();
    let mut kept = Kept::new(&store, &first);
    kept.until(|holding| *holding == Holding::Held).await;
    let twin = store.node().acquire(&request(1, "b")).await.unwrap();
    assert_ne!(twin.key, first.key);
    store.release(&twin.key).await.unwrap();
    kept.task.abort();
    assert!(kept.task.await.is_err());
    let back = store.node().acquire(&request(1, "c")).await.unwrap();
    assert_eq!(back.key, first.key);
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_unsure_until_it_is_connected_again() {
    let store = Memory::new();
    let lease = store.acquire(&request(1, "a")).await.unwrap();
    let mut kept = Kept::new(&store, &lease);
    kept.until(|holding| *holding == Holding::Held).await;
    store.set_online(false);
    kept.until(|holding| matches!(holding, Holding::Unsure { .. }))
        .await;
    assert!(matches!(
        store.list().await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(store.node().list().await.is_ok());
    store.set_online(true);
    kept.until(|holding| *holding == Holding::Held).await;
}
