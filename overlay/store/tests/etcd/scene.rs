//! Nodes, and what they ask for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, PutOptions};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tweed_model::{ClusterSnapshot, Dual, Lease, LeaseAttrs, Pool, SubnetKey, subnet};
use tweed_store::etcd::Etcd;
use tweed_store::{Ended, Holding, LeaseStore, Request};

use super::server::PREFIX;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn pool(network: &str, subnet_len: u8) -> Pool {
    let network = network.parse().unwrap();
    let last = subnet::subnet_count(&network, subnet_len) - 1;
    let base = |n| subnet::nth_subnet(&network, subnet_len, n).unwrap().addr();
    Pool {
        network,
        subnet_len,
        min: base(1),
        max: base(last),
    }
}

pub(crate) fn v4() -> Dual<Pool> {
    Dual {
        v4: Some(pool("10.5.0.0/16", 24)),
        v6: None,
    }
}

pub(crate) fn v6() -> Dual<Pool> {
    Dual {
        v4: None,
        v6: Some(pool("fd00:5::/48", 64)),
    }
}

pub(crate) fn dual() -> Dual<Pool> {
    Dual {
        v4: v4().v4,
        v6: v6().v6,
    }
}

/// The announcement of the `n`th node: its addresses in the pools' families, and its VTEP MAC.
pub(crate) fn attrs(pools: &Dual<Pool>, n: u16) -> LeaseAttrs {
    LeaseAttrs {
        public: pools.map(|family, _| match family {
            tweed_model::Family::V4 => IpAddr::from([192, 168, (n >> 8) as u8, n as u8]),
            tweed_model::Family::V6 => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, n]),
        }),
        backend_type: "vxlan".into(),
        data: pools.map(|_, _| mac_data(n)),
    }
}

pub(crate) fn mac_data(n: u16) -> serde_json::Value {
    json!({"VNI": 1, "VtepMAC": format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff)})
}

pub(crate) fn request(pools: Dual<Pool>, n: u16) -> Request {
    Request {
        attrs: attrs(&pools, n),
        pools,
        previous: Vec::new(),
        avoid: Vec::new(),
        held: None,
        inhabited: Dual::default(),
        also: Vec::new(),
        ttl: Duration::from_secs(60),
    }
}

pub(crate) fn key(text: &str) -> SubnetKey {
    text.parse().unwrap()
}

pub(crate) fn etcd_key(key: &SubnetKey) -> String {
    format!("{PREFIX}/subnets/{key}")
}

/// Puts a lease as flannel or an operator does: without any condition.
pub(crate) async fn put(client: &mut Client, key: &str, value: &str, etcd_lease: i64) {
    let options = PutOptions::new().with_lease(etcd_lease);
    client
        .put(format!("{PREFIX}/subnets/{key}"), value, Some(options))
        .await
        .unwrap();
}

/// The number of the store's last change.
pub(crate) async fn revision(client: &mut Client) -> i64 {
    let response = client.get("x", None).await.unwrap();
    response.header().unwrap().revision()
}

pub(crate) async fn value_of(client: &mut Client, key: &SubnetKey) -> Option<String> {
    let response = client.get(etcd_key(key), None).await.unwrap();
    response
        .kvs()
        .first()
        .map(|pair| pair.value_str().unwrap().to_owned())
}

pub(crate) async fn etcd_lease_of(client: &mut Client, key: &SubnetKey) -> i64 {
    client.get(etcd_key(key), None).await.unwrap().kvs()[0].lease()
}

/// A lease that is being kept, in a task of its own.
pub(crate) struct Kept {
    pub(crate) standing: watch::Receiver<Holding>,
    task: JoinHandle<Ended>,
}

impl Kept {
    pub(crate) fn new(store: &Arc<Etcd>, lease: &Lease) -> Self {
        let (sender, standing) = watch::channel(Holding::Unsure {
            reason: "not asked yet".into(),
        });
        let (store, lease) = (store.clone(), lease.clone());
        let task = tokio::spawn(async move { store.keep(&lease, sender).await });
        Self { standing, task }
    }

    pub(crate) async fn until(&mut self, what: impl Fn(&Holding) -> bool) -> Holding {
        let reached = timeout(SOON, self.standing.wait_for(|holding| what(holding))).await;
        let reached = reached
            .ok()
            .and_then(Result::ok)
            .map(|holding| holding.clone());
        reached.unwrap_or_else(|| panic!("standing stayed {:?}", *self.standing.borrow()))
    }

    pub(crate) async fn until_held(&mut self) {
        self.until(|holding| *holding == Holding::Held).await;
    }

    /// The other holder, once the lease is taken.
    pub(crate) async fn taken_by(self) -> Dual<IpAddr> {
        match timeout(SOON, self.task).await.expect("taken").unwrap() {
            Ended::Taken(by) => by,
            Ended::Changed(reason) => panic!("{reason}"),
        }
    }

    /// The process dies.
    pub(crate) fn die(self) {
        self.task.abort();
    }
}

/// A store that is being followed, in a task of its own.
pub(crate) struct Followed {
    pub(crate) relist: Arc<Notify>,
    pub(crate) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    task: JoinHandle<()>,
}

impl Followed {
    pub(crate) fn new(store: Etcd) -> Self {
        Self::starting_with(store, ClusterSnapshot::default())
    }

    pub(crate) fn starting_with(store: Etcd, saved: ClusterSnapshot) -> Self {
        let (sender, snapshots) = watch::channel(Arc::new(saved));
        let relist = Arc::new(Notify::new());
        let notify = relist.clone();
        let task = tokio::spawn(async move { store.follow(sender, notify).await });
        Self {
            relist,
            snapshots,
            task,
        }
    }

    pub(crate) async fn until(
        &mut self,
        what: impl Fn(&ClusterSnapshot) -> bool,
    ) -> Arc<ClusterSnapshot> {
        let reached = timeout(SOON, self.snapshots.wait_for(|snapshot| what(snapshot))).await;
        let reached = reached
            .ok()
            .and_then(Result::ok)
            .map(|snapshot| snapshot.clone());
        reached.unwrap_or_else(|| panic!("the snapshot stayed {:#?}", *self.snapshots.borrow()))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
