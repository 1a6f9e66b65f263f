//! Plugins that work on one interface one after the other, within one call.

use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

/// A plugin that makes the interface, and others behind it: each gets the result of the one before it. ADD and CHECK end
/// at the first error; DEL and GC call each plugin and report all errors.
pub(crate) struct Chain {
    first: Delegate,
    others: Vec<Delegate>,
}

impl Chain {
    pub(crate) fn new(first: Delegate, others: Vec<Delegate>) -> Self {
        Self { first, others }
    }

    /// Calls ADD of each, and answers the result of the last.
    pub(crate) fn add(
        &self,
        request: &Request<'_>,
        undo: &mut Undo,
    ) -> Result<CniResult, CniError> {
        let mut result = self.first.add(request, undo)?;
        for other in &self.others {
            result = other.following(result).add(request, undo)?;
        }
        Ok(result)
    }

    /// Calls DEL of each, in the reverse order.
    pub(crate) fn del(&self, request: &Request<'_>) -> Result<(), CniError> {
        Removal::of(|removal| {
            for other in self.others.iter().rev() {
                removal.step(other.del(request));
            }
            self.first.del(request)
        })
    }

    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        self.first.check(request)?;
        self.others
            .iter()
            .try_for_each(|other| other.check(request))
    }

    pub(crate) fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        self.first.status(request)?;
        self.others
            .iter()
            .try_for_each(|other| other.status(request))
    }

    pub(crate) fn gc(&self, request: &Request<'_>) -> Result<(), CniError> {
        Removal::of(|removal| {
            removal.step(self.first.gc(request));
            for other in &self.others {
                removal.step(other.gc(request));
            }
            Ok(())
        })
    }
}
