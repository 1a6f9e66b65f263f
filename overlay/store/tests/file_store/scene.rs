//! Nodes, what they ask for, and tasks that keep and follow.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tweed_model::{ClusterSnapshot, Dual, Lease, LeaseAttrs, Pool, SubnetKey, subnet};
use tweed_store::file::{FileStore, Options};
use tweed_store::{Ended, Holding, LeaseStore, Request};

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// inotify has to bring the news: nothing is read again within a test.
pub(crate) fn store(folder: &Path) -> FileStore {
    FileStore::new(Options {
        folder: folder.to_owned(),
        reread: Duration::from_secs(3600),
    })
}

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

pub(crate) fn request(n: u8) -> Request {
    Request {
        pools: Dual {
            v4: Some(pool("10.5.0.0/19", 24)),
            v6: Some(pool("fd00:5::/48", 64)),
        },
        attrs: LeaseAttrs {
            public: Dual::of_addrs([IpAddr::from([192, 168, 0, n])]),
            backend_type: "vxlan".into(),
            data: Dual {
                v4: Some(json!({"VNI": 1, "VtepMAC": format!("02:00:00:00:00:{n:02x}")})),
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

pub(crate) fn file_of(folder: &Path, key: &SubnetKey) -> PathBuf {
    folder.join("subnets").join(format!("{key}.json"))
}

pub(crate) struct Kept {
    pub(crate) standing: watch::Receiver<Holding>,
    pub(crate) task: JoinHandle<Ended>,
}

pub(crate) fn keep(folder: &Path, lease: &Lease) -> Kept {
    let (sender, standing) = watch::channel(Holding::Unsure {
        reason: "not asked yet".into(),
    });
    let (store, lease) = (store(folder), lease.clone());
    Kept {
        standing,
        task: tokio::spawn(async move { store.keep(&lease, sender).await }),
    }
}

impl Kept {
    pub(crate) async fn until_held(&mut self) {
        let held = timeout(
            SOON,
            self.standing.wait_for(|holding| *holding == Holding::Held),
        )
        .await;
        held.expect("held").unwrap();
    }
}

pub(crate) struct Followed {
    pub(crate) relist: Arc<Notify>,
    pub(crate) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
}

pub(crate) fn follow(store: FileStore) -> Followed {
    let (sender, snapshots) = watch::channel(Arc::default());
    let relist = Arc::new(Notify::new());
    let notify = relist.clone();
    tokio::spawn(async move { store.follow(sender, notify).await });
    Followed { relist, snapshots }
}

impl Followed {
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

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
