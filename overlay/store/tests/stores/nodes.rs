//! Nodes: what they ask for, and tasks that keep and follow.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tweed_model::{
    BackendData, ClusterSnapshot, Dual, Family, Lease, LeaseAttrs, Pool, SubnetKey, subnet,
};
use tweed_store::{Ended, Held, Holding, LeaseStore, Request};

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
            Family::V4 => IpAddr::from([192, 168, (n >> 8) as u8, n as u8]),
            Family::V6 => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, n]),
        }),
        backend_type: "vxlan".into(),
        data: pools.map(|_, _| mac_data(n)),
    }
}

pub(crate) fn mac_data(n: u16) -> BackendData {
    json!({"VNI": 1, "VtepMAC": format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff)}).into()
}

pub(crate) fn request(pools: Dual<Pool>, n: u16) -> Request {
    Request {
        attrs: attrs(&pools, n),
        pools,
        previous: Vec::new(),
        avoid: Vec::new(),
        held: None,
        announced: None,
        wishes: Dual::default(),
        inhabited: Dual::default(),
        also: Vec::new(),
        ttl: Duration::from_secs(60),
    }
}

pub(crate) fn key(text: &str) -> SubnetKey {
    text.parse().unwrap()
}

/// Takes a lease and does nothing for it from then on: the process dies.
pub(crate) async fn take(store: &impl LeaseStore, request: &Request) -> Lease {
    store.acquire(request).await.unwrap().lease().clone()
}

/// A lease that is being kept, in a task of its own.
pub(crate) struct Kept {
    pub(crate) standing: watch::Receiver<Holding>,
    task: JoinHandle<Ended>,
}

impl Kept {
    /// In a task that `spawn` makes.
    pub(crate) fn by(spawn: impl FnOnce(watch::Sender<Holding>) -> JoinHandle<Ended>) -> Self {
        let (sender, standing) = watch::channel(Holding::Unsure {
            reason: "not asked yet".into(),
            since: Instant::now(),
        });
        let task = spawn(sender);
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

    pub(crate) async fn until_unsure(&mut self) -> Holding {
        self.until(|holding| matches!(holding, Holding::Unsure { .. }))
            .await
    }

    /// The other holder, once the lease is taken.
    pub(crate) async fn taken_by(self) -> Dual<IpAddr> {
        let by = match timeout(SOON, self.task).await.expect("taken").unwrap() {
            Ended::Taken(by) => by,
            Ended::Changed(reason) => panic!("{reason}"),
        };
        assert_eq!(*self.standing.borrow(), Holding::Taken { by });
        by
    }

    /// The process dies.
    pub(crate) async fn die(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

/// A store that is being followed, in a task of its own.
pub(crate) struct Followed {
    pub(crate) relist: Arc<Notify>,
    pub(crate) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    task: JoinHandle<()>,
}

impl Followed {
    /// In a task that `spawn` makes; until the first list there are saved peers.
    pub(crate) fn by(
        saved: ClusterSnapshot,
        spawn: impl FnOnce(watch::Sender<Arc<ClusterSnapshot>>, Arc<Notify>) -> JoinHandle<()>,
    ) -> Self {
        let (sender, snapshots) = watch::channel(Arc::new(saved));
        let relist = Arc::new(Notify::new());
        Self {
            task: spawn(sender, Arc::clone(&relist)),
            relist,
            snapshots,
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

pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
