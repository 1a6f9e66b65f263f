//! What plugins keep on the disk between one call and the next.

pub(crate) mod file;
pub(crate) mod lock;
pub(crate) mod records;
