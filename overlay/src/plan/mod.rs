//! What must change: desired and observed state as values, and their ordered difference. Pure.

pub mod carried;
pub mod desired;
pub mod diff;
pub mod guard;
pub mod op;
pub mod state;
pub mod wanted;

pub use carried::keeping;
pub use desired::{Choices, desired};
pub use diff::{Plan, plan};
pub use guard::{Guard, Held, Verdict};
pub use op::Op;
pub use state::{
    BRIDGE_FILTER, FdbKey, KernelState, Link, LinkKind, NeighKey, NextHop, Others, ROUTE_PROTOCOL,
    Route, RouteKey, Scope, Vxlan, alias_of, instance_of, may_be_absent,
};
pub use wanted::Desired;

#[cfg(test)]
mod tests;
