//! Events: what has happened to this node and its peers, told once, as a line of the log, in `tweedd events`, and for
//! some as an Event of Kubernetes. One table has their kinds, one file their sentences.

pub mod document;
pub mod event;
pub mod journal;
pub mod kind;
mod ring;
pub mod sentences;
