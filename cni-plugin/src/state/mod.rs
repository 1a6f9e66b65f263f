//! Files that plugins keep between one call and the next.

pub(crate) mod agents;
pub(crate) mod delegates;
pub(crate) mod file;
pub(crate) mod lock;
pub(crate) mod records;
