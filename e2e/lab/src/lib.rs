//! The lab: hosts as sets of namespaces, joined by a switch, on which the real binaries run.
//!
//! A scenario asks [`topology::Lab`] for hosts, starts agents on them ([`agent`]) over a store ([`etcd`], or a folder),
//! attaches pods through CNI calls ([`cni`]), sends traffic ([`traffic`]), breaks things ([`fault`]) and looks at what
//! the kernel holds afterwards ([`observe`]). Nothing outlives the lab: a host's first process ends with ours, and the
//! kernel takes everything else of that host along.

pub mod agent;
pub mod backend;
pub mod binaries;
pub mod browser;
pub mod cluster;
pub mod cni;
pub mod containerd;
pub mod datagram;
pub mod docker;
pub mod document;
pub mod dump;
pub mod engine;
pub mod etcd;
pub mod fault;
pub mod flannel;
pub mod flood;
pub mod guest;
pub mod http;
pub mod kube;
pub mod launch;
pub mod namespace;
pub mod observe;
pub mod podman;
pub mod refusal;
pub mod relay;
pub mod report;
pub mod systemd;
pub mod topology;
pub mod traffic;
pub mod wait;
