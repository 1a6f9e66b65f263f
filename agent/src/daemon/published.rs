//! Settings that an agent shows to commands, so that they use the same store, files and choices. Secrets are left out.

use serde::{Deserialize, Serialize};

use crate::config::options::Options;
use crate::config::settings::Given;

/// The answer to `/v1/settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedSettings {
    /// Its name on this host.
    pub instance: String,
    /// Where its leases are, in words.
    pub store: String,
    /// Flags and variables, by flag.
    pub given: Given,
}

impl PublishedSettings {
    /// The settings of this agent.
    pub fn of(options: &Options) -> Self {
        Self {
            instance: options.host.instance.to_string(),
            store: options.store.to_string(),
            given: options.given.clone(),
        }
    }
}
