//! Tables as they are in the kernel: read back, and changed, each in one transaction.

pub mod conntrack;
mod legacy;
pub mod passage;
pub mod read;
pub mod table;

pub use legacy::{legacy_filter, legacy_table, legacy_tables};
pub use table::{Count, apply, apply_at, dropped, observe, observe_at};
