//! Scenarios whose limits are those of the documents: a second and less, or a count a minute. Few of them run at once, and
//! nothing beside them, since what they measure would else be the machine's load.

mod fast_del;
mod healing;
mod hostport;
mod idle;
pub(crate) mod pod_healing;
mod restart;
mod routed;
mod saved_start;
mod tx_checksum;
