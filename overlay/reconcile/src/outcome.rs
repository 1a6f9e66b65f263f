//! Operations that failed.

use tweed_host::KernelError;
use tweed_state::Op;

/// An operation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operation in words.
    pub op: String,
    /// The kernel's answer.
    pub error: String,
}

impl Failure {
    pub(super) fn of(op: &Op, error: &KernelError) -> Self {
        let op = op.to_string();
        // An error that names the operation itself has nothing to add to it but the reason.
        let error = match error.what == op {
            true => error.source.to_string(),
            false => error.to_string(),
        };
        Self { op, error }
    }
}
