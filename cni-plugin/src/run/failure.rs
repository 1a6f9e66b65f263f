//! Why the runner could not do what it was called for, and the exit code by which a script learns it.

use std::fmt::Display;

use crate::spec::{CniError, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A plugin answered with an error object of this code.
    Plugin(u32),
    /// A file, a lock or a process.
    Other,
    /// The command line.
    Usage,
    /// There is no such network, or its configuration is of no use.
    Network,
    /// There is no such container or namespace, or it doesn't run.
    Container,
    /// A plugin has no program.
    NoPlugin,
    /// A plugin did not end in time.
    Deadline,
}

/// What was to be done, and why it wasn't.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    text: String,
}

impl Reason {
    /// Those of the specification that a script acts on keep their number: try again later, STATUS' two.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Plugin(11) => 11,
            Self::Plugin(50) => 50,
            Self::Plugin(51) => 51,
            Self::Plugin(_) | Self::Other => 1,
            Self::Usage => 2,
            Self::Network => 3,
            Self::Container => 4,
            Self::NoPlugin => 5,
            Self::Deadline => 6,
        }
    }
}

impl Failure {
    pub(crate) fn new(reason: Reason, text: impl Display) -> Self {
        Self {
            reason,
            text: text.to_string(),
        }
    }

    pub(crate) fn network(text: impl Display) -> Self {
        Self::new(Reason::Network, text)
    }

    pub(crate) fn container(text: impl Display) -> Self {
        Self::new(Reason::Container, text)
    }

    /// The same, saying what was being done.
    #[must_use]
    pub(crate) fn context(mut self, what: impl Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }

    /// The first of several, naming all.
    pub(crate) fn join(failures: Vec<Self>) -> Result<(), Self> {
        let mut failures = failures.into_iter();
        let Some(mut first) = failures.next() else {
            return Ok(());
        };
        for other in failures {
            first.text = format!("{}; {other}", first.text);
        }
        Err(first)
    }
}

impl From<CniError> for Failure {
    fn from(error: CniError) -> Self {
        let reason = match error.kind {
            // Another process is at it.
            Kind::TryLater => Reason::Plugin(error.kind.code()),
            _ => Reason::Other,
        };
        Self::new(reason, error)
    }
}
