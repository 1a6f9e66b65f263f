//! Which lease a node would get, found without taking it.

use std::sync::Arc;

use tweed_model::{ClusterSnapshot, Lease, SubnetKey};

use crate::Request;
use crate::claim::{Claim, Survey};

/// What asking a store for a lease would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// This lease, which is the node's.
    Own(SubnetKey),
    /// This lease, unless its holder answers.
    Unclear(SubnetKey),
    /// Another one than those in the store.
    New,
}

impl Forecast {
    /// For a node that asks a store with these leases.
    #[must_use]
    pub fn of(snapshot: &ClusterSnapshot, request: &Request) -> Self {
        let leases: Vec<&Lease> = snapshot.leases.values().map(Arc::as_ref).collect();
        match Survey::of(&leases, &[], request).reuse.first() {
            Some((key, Claim::Own)) => Self::Own(*key),
            Some((key, _)) => Self::Unclear(*key),
            None => Self::New,
        }
    }
}
