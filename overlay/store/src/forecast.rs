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
    /// A new one, on a subnet that the node has had and that is free.
    Again(SubnetKey),
    /// A new one, on a subnet that it draws; or none, where all are taken.
    New,
}

impl Forecast {
    /// For a node that asks a store with these leases.
    #[must_use]
    pub fn of(snapshot: &ClusterSnapshot, request: &Request) -> Self {
        let leases: Vec<&Lease> = snapshot.leases.values().map(Arc::as_ref).collect();
        let survey = Survey::of(&leases, &[], request);
        match survey.reuse.first() {
            Some((key, Claim::Own)) => return Self::Own(*key),
            Some((key, _)) => return Self::Unclear(*key),
            None => {}
        }
        // What was held before is drawn first; what else is drawn depends on the number.
        match survey.draw(request, 0) {
            Ok(drawn) if survey.previous.contains(&drawn) => Self::Again(SubnetKey(drawn)),
            _ => Self::New,
        }
    }
}
