//! What attachments of containers want of the host: looked up in their records, compared with the kernel, put back.

mod attending;
mod change;
mod gone;
mod look;
mod wanted;

pub(super) use attending::Attending;
pub(super) use change::apply;
pub use look::Attachments;
pub(super) use look::look;
