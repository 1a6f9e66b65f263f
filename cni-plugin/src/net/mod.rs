//! What plugins that make or change a container's interface share: its namespace, the link, its addresses and routes,
//! its names, the packet filter; and the agent, whose subnets its addresses are from.

pub(crate) mod addresses;
pub(crate) mod agent;
pub(crate) mod attachment;
pub(crate) mod container;
pub(crate) mod identity;
pub(crate) mod inner;
pub(crate) mod layer;
pub(crate) mod link;
pub(crate) mod masquerade;
pub(crate) mod master;
pub(crate) mod namespace;
pub(crate) mod options;
pub(crate) mod packet_filter;
pub(crate) mod routes;
pub(crate) mod subnet_env;
pub(crate) mod sysctl;
pub(crate) mod unlink;
pub(crate) mod veth;
