//! The store that was asked for, whichever it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnet::IpNet;
use tokio::sync::{Notify, watch};

use tweed_model::{ClusterSnapshot, Lease, Pool, SubnetKey, Subnets};
use tweed_store::etcd::{self, Etcd};
use tweed_store::file::{self, FileStore};
use tweed_store::kube::KubeStore;
use tweed_store::{Ended, Holding, LeaseStore, NodeReport, OwnRecord, Request, StoreError};

use crate::config::options::{EtcdOptions, StoreOptions};

/// One of the stores there are.
#[derive(Debug)]
pub enum Store {
    /// An etcd cluster.
    Etcd(Box<Etcd>),
    /// The Kubernetes API.
    Kube(Box<KubeStore>),
    /// A folder.
    File(FileStore),
}

impl Store {
    /// Opens the store. etcd and Kubernetes are connected to when it is first needed.
    ///
    /// # Errors
    /// If certificates can't be read, or the folder can't be used.
    pub fn open(options: &StoreOptions) -> anyhow::Result<Self> {
        match options {
            StoreOptions::Etcd(etcd) => Ok(Self::Etcd(Box::new(
                Etcd::new(etcd.connection()).context("etcd")?,
            ))),
            StoreOptions::Kube(kube) => Ok(Self::Kube(Box::new(KubeStore::new(kube.clone())))),
            StoreOptions::File { dir } => Ok(Self::File(FileStore::new(file::Options::new(dir)))),
        }
    }
}

impl EtcdOptions {
    /// How the library wants to be told.
    fn connection(&self) -> etcd::Options {
        let tls = self.tls.clone().unwrap_or_default();
        let (cert_file, key_file) = tls.client.unzip();
        etcd::Options {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            user: self
                .user
                .as_ref()
                .map(|(name, password)| (name.clone(), password.expose().to_owned())),
            ca_file: tls.ca,
            cert_file,
            key_file,
            ..etcd::Options::default()
        }
    }
}

impl fmt::Display for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd(etcd) => write!(f, "etcd {} {}", etcd.endpoints.join(","), etcd.prefix),
            Self::Kube(kube) => write!(f, "Kubernetes {}", kube.prefix),
            Self::File { dir } => write!(f, "folder {}", dir.display()),
        }
    }
}

/// Asks the store that it is.
macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Etcd($store) => $call,
            Self::Kube($store) => $call,
            Self::File($store) => $call,
        }
    };
}

impl LeaseStore for Store {
    async fn config(&self) -> Result<String, StoreError> {
        each!(self, store => store.config().await)
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        each!(self, store => store.put_config(text).await)
    }

    async fn acquire(&self, request: &Request) -> Result<Lease, StoreError> {
        each!(self, store => store.acquire(request).await)
    }

    async fn keep(&self, lease: &Lease, standing: watch::Sender<Holding>) -> Ended {
        each!(self, store => store.keep(lease, standing).await)
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        each!(self, store => store.release(key).await)
    }

    fn redial(&self) {
        each!(self, store => store.redial());
    }

    fn heard(&self) -> Option<Instant> {
        each!(self, store => store.heard())
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        each!(self, store => store.list().await)
    }

    async fn time_left(&self) -> Result<BTreeMap<SubnetKey, Duration>, StoreError> {
        each!(self, store => store.time_left().await)
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        each!(self, store => store.follow(out, relist).await);
    }

    async fn own(&self) -> Result<OwnRecord, StoreError> {
        each!(self, store => store.own().await)
    }

    fn subnets(&self) -> Subnets {
        each!(self, store => store.subnets())
    }

    async fn servers(&self) -> Vec<String> {
        each!(self, store => store.servers().await)
    }

    fn fits(&self, pool: &Pool, subnet: &IpNet) -> bool {
        each!(self, store => store.fits(pool, subnet))
    }

    async fn attend(&self, report: watch::Receiver<NodeReport>) {
        each!(self, store => store.attend(report).await);
    }
}
