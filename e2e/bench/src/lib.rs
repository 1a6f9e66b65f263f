//! Measurements. Only ratios count: both sides are measured in one run on one machine, in turns.

pub mod agent;
pub mod answering;
pub mod cni;
pub mod dataplane;
pub mod floor;
pub mod gateway;
pub mod kube;
pub mod path;
pub mod plan;
pub mod process;
pub mod routes;
pub mod row;
pub mod scale;
