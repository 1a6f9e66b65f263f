//! The plugins' table in the kernel: puts and removes the elements of one container's interface.

mod attachment;
pub mod collect;
pub mod discarded;
mod dropping;
pub mod forwarding;
mod gone;
mod hostport;
mod migrated;
mod published_flows;
mod records;
mod source;
mod table;

pub use attachment::{masquerade, masqueraded, owners, put_base, remove_owner, unmasquerade};
pub use dropping::dropping;
pub use gone::is_surely_gone;
pub use hostport::{
    Missing, PublishError, publish, publish_new, published, publishers, unpublish,
    unpublish_recorded,
};
pub use migrated::{remove_migrated, remove_migrated_ports, remove_migrated_source};
pub use published_flows::{forget_flows_past, forget_flows_to};
pub use records::{Attachment, CNI_DATA_DIR, Recorded, Records};
pub use source::{bind_source, free_source, is_source_bound, source_owners};
pub use table::Table;
