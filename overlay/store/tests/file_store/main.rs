//! The store in a folder. Locks belong to an open file, so that threads with their own handles stand for processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod hostile;
mod keep;
mod scene;
