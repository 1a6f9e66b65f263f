//! A folder, what nodes ask of it, and tasks that keep and follow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tweed_model::{ClusterSnapshot, Dual, Lease, SubnetKey};
use tweed_store::file::{FileOptions, FileStore};
use tweed_store::{Held, LeaseStore, Request};

pub(crate) use crate::nodes::*;

/// inotify has to bring the news: nothing is read again within a test.
pub(crate) fn store(folder: &Path) -> FileStore {
    FileStore::new(FileOptions {
        folder: folder.to_owned(),
        reread: Duration::from_secs(3600),
    })
}

/// A node's wish for one of 31 subnets.
pub(crate) fn wish(n: u16) -> Request {
    let pools = Dual {
        v4: Some(pool("10.5.0.0/19", 24)),
        v6: Some(pool("fd00:5::/48", 64)),
    };
    Request {
        attrs: attrs(&v4(), n),
        ..request(pools, n)
    }
}

pub(crate) fn file_of(folder: &Path, key: &SubnetKey) -> PathBuf {
    folder.join("subnets").join(format!("{key}.json"))
}

/// Takes a lease and keeps it.
pub(crate) async fn keep(folder: &Path, request: &Request) -> (Lease, Kept) {
    let held = store(folder).acquire(request).await.unwrap();
    let lease = held.lease().clone();
    let kept = Kept::by(|standing| tokio::spawn(held.keep(standing)));
    (lease, kept)
}

pub(crate) fn follow(store: FileStore) -> Followed {
    Followed::by(ClusterSnapshot::default(), |out, relist| {
        tokio::spawn(async move { store.follow(out, relist).await })
    })
}
