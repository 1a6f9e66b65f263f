//! What the kernel holds or should hold of ours, as values, and their ordered difference. Pure.

pub mod attached;
pub mod diff;
pub mod link;
pub mod nexthop;
pub mod op;
pub mod state;
pub mod wanted;

pub use attached::Attached;
pub use diff::{Plan, plan};
pub use link::{Link, LinkKind, Vxlan};
pub use nexthop::{NextHop, NextHopObject, ObjectRef};
pub use op::Op;
pub use state::{
    BRIDGE_FILTER, FdbKey, KernelState, NeighKey, OBJECT_ROUTE_PROTOCOL, Others, ROUTE_PROTOCOL,
    Route, RouteKey, Scope, alias_of, instance_of, may_be_absent,
};
pub use wanted::Desired;
