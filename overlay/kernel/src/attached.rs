//! Attachments of containers: wanted by their records, compared with the kernel, repaired.

mod change;
mod discarded;
mod gone;
mod look;
mod state;
mod used;
mod wanted;
mod ways;

pub(super) use change::apply;
pub use look::Attachments;
pub(super) use look::look;
pub(super) use state::AttachmentState;
pub use used::used_bridges;
