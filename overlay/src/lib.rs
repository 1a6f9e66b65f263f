//! The library under `tweedd` and the `tweed` CNI plugin.
//!
//! Modules in the order in which data flows: what exists ([`model`]), where it comes from ([`store`]), how leases
//! become intent ([`backend`], [`firewall`]), what must change ([`plan`]), the only place that changes the host
//! ([`kernel`], [`netlink`]), and the loop that joins them ([`reconcile`]). Imports point backwards in that list only.
//! Beside them stand the data plane of its own ([`forward`]), which needs only the model, and what all may use:
//! [`bounded_file`], [`file_lock`], [`netns`], [`random`], [`sysctl`], [`whole_file`].

pub mod backend;
pub mod bounded_file;
pub mod file_lock;
pub mod firewall;
pub mod forward;
pub mod kernel;
pub mod model;
pub mod netlink;
pub mod netns;
pub mod plan;
pub mod random;
pub mod reconcile;
#[cfg(feature = "store")]
pub mod store;
pub mod sysctl;
pub mod whole_file;
