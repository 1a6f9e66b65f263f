//! A real Kubernetes: API server, controller manager, scheduler, kubelets with containerd, kube-proxy, CoreDNS.
//!
//! The components are built from their Go modules by `.ci/kube` ([`binaries`]); [`pki`] makes the certificates,
//! [`control`] runs the control plane in the switch's namespace, where etcd is, and [`node`] makes a node of a host.
//! Images are made from static binaries ([`image`]); there is no registry.

pub mod binaries;
pub mod cgroup;
pub mod cluster;
pub mod control;
pub mod dns;
pub mod image;
pub mod node;
pub mod pki;

pub use cluster::KubeCluster;
pub use control::{ApiServer, Controllers};
pub use node::{Node, NodeOptions};
