//! The plugins' table as it is in the kernel: what one container's interface has in it, put and removed.

mod attachment;
mod hostport;
mod migrated;
mod published_flows;
mod restore;

pub use attachment::{masquerade, masqueraded, owners, remove_owner};
pub use hostport::{Missing, PublishError, publish, published, publishers, unpublish};
pub use migrated::{remove_migrated, remove_migrated_ports};
pub use published_flows::{forget_flows_past, forget_flows_to};
pub use restore::Restorer;
