//! What an agent tells commands of itself, so that they mean the same store, files and choices: what it was given, without
//! secrets.

use serde::{Deserialize, Serialize};

use crate::config::options::Options;
use crate::config::settings::Given;

/// The answer to `/v1/settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its name on this host.
    pub instance: String,
    /// Where its leases are, in words.
    pub store: String,
    /// Flags and variables, by flag.
    pub given: Given,
}

impl Told {
    /// What this agent tells.
    pub fn of(options: &Options) -> Self {
        Self {
            instance: options.host.instance.to_string(),
            store: options.store.to_string(),
            given: options.given.clone(),
        }
    }
}
