//! The wanted state of a node, given its peers.

use std::collections::BTreeMap;

use tweed_forward::forwarding::Forwarding;
use tweed_model::{Refusal, SubnetKey};
use tweed_state::KernelState;

/// The wanted state of one backend, from a node and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Objects of the kernel.
    pub state: KernelState,
    /// The table of our data plane, where packets go through it.
    pub forwarding: Option<Forwarding>,
    /// Leases whose data can't be used.
    pub refused: BTreeMap<SubnetKey, Refusal>,
}

impl Intent {
    /// Adds another backend's. What that one wants of the same object is the same.
    pub(super) fn join(&mut self, other: Self) {
        let (state, beside) = (&mut self.state, other.state);
        state.links.extend(beside.links);
        state.addrs.extend(beside.addrs);
        state.neighs.extend(beside.neighs);
        state.fdb.extend(beside.fdb);
        state.routes.extend(beside.routes);
        state.sysctls.extend(beside.sysctls);
        state.tx_checksum.extend(beside.tx_checksum);
        self.forwarding = self.forwarding.take().or(other.forwarding);
        self.refused.extend(other.refused);
    }
}
