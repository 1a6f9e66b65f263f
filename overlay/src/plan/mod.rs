//! What must change: desired and observed state as values, and their ordered difference. Pure.

pub mod op;
pub mod state;

pub use op::Op;
pub use state::{
    FdbKey, KernelState, Link, LinkKind, NeighKey, NextHop, ROUTE_PROTOCOL, Route, RouteKey, Scope,
    Vxlan,
};
