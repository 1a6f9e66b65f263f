//! What a plugin is.

use std::fmt::Debug;

use crate::spec::{Call, CniError, CniResult, NetConf};

/// The verbs of a plugin. Environment, version and names are valid when they are called, and the container's
/// namespace, where there is one, is not our own.
pub(crate) trait Plugin {
    /// Reads and checks the whole configuration. Nothing is done yet.
    ///
    /// # Errors
    /// The first key whose value can't be, with what is there and what is wanted.
    fn configuration(&self, call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError>;

    /// Attaches a container.
    ///
    /// # Errors
    /// Nothing is left behind.
    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError>;

    /// Detaches a container. What is gone already is no error.
    ///
    /// # Errors
    /// Something is there and can't be removed; everything else has been removed.
    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Verifies an attachment against the result of its ADD.
    ///
    /// # Errors
    /// The first thing that is not as it was.
    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Removes what belongs to this network but to no valid attachment.
    ///
    /// # Errors
    /// As for [`Plugin::del`]; or nothing says what is valid.
    fn gc(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Whether ADD could work now.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    fn status(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;
}
