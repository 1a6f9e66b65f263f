//! How to reach the API server, and which node this is.

use std::path::PathBuf;

use tweed_model::annotations::Prefix;

/// How to use Kubernetes as a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeOptions {
    /// API servers to be used instead of the one that the credentials name, tried in turn: URLs.
    pub servers: Vec<String>,
    /// A kubeconfig with address and credentials; without one the pod's service account is used.
    pub kubeconfig: Option<PathBuf>,
    /// What the names of the annotations start with.
    pub prefix: Prefix,
    /// The network configuration: flannel's `net-conf.json`.
    pub config_file: PathBuf,
    /// Which node this is.
    pub node: NodeName,
    /// Keep the node's condition `NetworkUnavailable`.
    pub set_condition: bool,
    /// Keys of taints to be removed from the node once its network works.
    pub remove_taints: Vec<String>,
}

/// Which node of the cluster this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// By its name.
    Known(String),
    /// The one on which this pod runs.
    OfPod {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
    },
    /// Nobody said; enough to look at leases, not to hold one.
    Unknown,
}
