//! Answers of the store on the way to a session, and why there is none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tweed_store::StoreError;

/// Why there is no session.
#[derive(Debug)]
pub enum Trouble {
    /// The store is out of reach: the saved state may stand in.
    Away(String),
    /// The store answers, and something is missing: the saved state would be wrong.
    Missing(String),
    /// No subnet is free, the saved one neither.
    Exhausted(String),
}

impl Trouble {
    /// In words.
    pub fn reason(self) -> String {
        match self {
            Self::Away(reason) | Self::Missing(reason) | Self::Exhausted(reason) => reason,
        }
    }
}

/// The answers that the store has given so far.
#[derive(Debug, Default)]
pub struct Said {
    /// The network configuration.
    pub config: Option<String>,
    /// Addresses of its servers.
    pub servers: BTreeSet<IpAddr>,
    /// A changed configuration that was read twice.
    pub(super) confirmed: Option<String>,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::Refused(_) => Self::Away(reason),
            StoreError::Exhausted(_) => Self::Exhausted(reason),
            _ => Self::Missing(reason),
        }
    }
}
