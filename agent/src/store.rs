//! The store that was asked for, whichever it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, watch};

use tweed_model::{ClusterSnapshot, Lease, SubnetKey};
use tweed_store::contact::Contact;
use tweed_store::etcd::{self, Etcd, EtcdHeld};
use tweed_store::file::{self, FileHeld, FileStore};
use tweed_store::kube::{KubeHeld, KubeStore};
use tweed_store::{Ended, Held, Holding, LeaseStore, Remote, Request, StoreError};

use crate::config::options::{EtcdOptions, StoreOptions};

/// One of the stores there are.
#[derive(Debug)]
pub enum Store {
    /// An etcd cluster.
    Etcd(Etcd),
    /// The Kubernetes API.
    Kube(KubeStore),
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
            StoreOptions::Etcd(etcd) => {
                Ok(Self::Etcd(Etcd::new(etcd.connection()).context("etcd")?))
            }
            StoreOptions::Kube(kube) => Ok(Self::Kube(KubeStore::new(kube.clone()))),
            StoreOptions::File { dir } => {
                Ok(Self::File(FileStore::new(file::FileOptions::new(dir))))
            }
        }
    }
}

impl EtcdOptions {
    /// How the library wants to be told.
    fn connection(&self) -> etcd::EtcdOptions {
        let tls = self.tls.clone().unwrap_or_default();
        let (cert_file, key_file) = tls.client.unzip();
        etcd::EtcdOptions {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            user: self
                .user
                .as_ref()
                .map(|(name, password)| (name.clone(), password.expose().to_owned())),
            ca_file: tls.ca,
            cert_file,
            key_file,
            ..etcd::EtcdOptions::default()
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

/// Asks the one that it is.
macro_rules! each {
    ($kind:ident, $self:expr, $one:ident => $call:expr) => {
        match $self {
            $kind::Etcd($one) => $call,
            $kind::Kube($one) => $call,
            $kind::File($one) => $call,
        }
    };
}

impl Store {
    /// Refuses the folder of a file store that does not exist, as where its name is mistyped.
    ///
    /// # Errors
    /// With its name.
    pub async fn refuse_missing(&self) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.refuse_missing().await,
            Self::Etcd(_) | Self::Kube(_) => Ok(()),
        }
    }

    /// How long each lease lasts if its node renews it no more, where the store knows such a thing.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn time_left(&self) -> Result<BTreeMap<SubnetKey, Duration>, StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.time_left().await,
            Self::Kube(_) | Self::File(_) => Ok(BTreeMap::new()),
        }
    }
}

impl LeaseStore for Store {
    type Held = HeldLease;
    type Remote = Self;
    type Cluster = KubeStore;

    async fn config(&self) -> Result<String, StoreError> {
        each!(Store, self, store => store.config().await)
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        each!(Store, self, store => store.put_config(text).await)
    }

    async fn acquire(&self, request: &Request) -> Result<HeldLease, StoreError> {
        Ok(match self {
            Self::Etcd(store) => HeldLease::Etcd(store.acquire(request).await?),
            Self::Kube(store) => HeldLease::Kube(store.acquire(request).await?),
            Self::File(store) => HeldLease::File(store.acquire(request).await?),
        })
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        each!(Store, self, store => store.release(key).await)
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        each!(Store, self, store => store.list().await)
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        each!(Store, self, store => store.follow(out, relist).await);
    }

    fn contact(&self) -> Contact {
        each!(Store, self, store => store.contact())
    }

    fn remote(&self) -> Option<&Self> {
        match self {
            Self::Etcd(_) | Self::Kube(_) => Some(self),
            Self::File(_) => None,
        }
    }

    fn cluster(&self) -> Option<&KubeStore> {
        match self {
            Self::Kube(store) => store.cluster(),
            Self::Etcd(_) | Self::File(_) => None,
        }
    }
}

impl Remote for Store {
    async fn servers(&self) -> Vec<String> {
        match self {
            Self::Etcd(store) => store.servers().await,
            Self::Kube(store) => store.servers().await,
            Self::File(_) => Vec::new(),
        }
    }

    fn redial(&self) {
        match self {
            Self::Etcd(store) => store.redial(),
            Self::Kube(store) => store.redial(),
            Self::File(_) => {}
        }
    }
}

/// A lease of one of the stores.
#[derive(Debug)]
pub enum HeldLease {
    /// A key in etcd.
    Etcd(EtcdHeld),
    /// A Node's subnets.
    Kube(KubeHeld),
    File(FileHeld),
}

impl Held for HeldLease {
    fn lease(&self) -> &Lease {
        each!(HeldLease, self, held => held.lease())
    }

    async fn keep(self, standing: watch::Sender<Holding>) -> Ended {
        each!(HeldLease, self, held => held.keep(standing).await)
    }
}
