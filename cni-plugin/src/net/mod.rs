//! What plugins that make or change a container's interface share: its namespace, its names, its switches.

pub(crate) mod identity;
pub(crate) mod namespace;
pub(crate) mod sysctl;
