//! A network configuration, read.

use tweed_backend::Backends;
use tweed_model::{NetworkConfig, Subnets};

/// A configuration with what it means.
pub(super) struct Network {
    pub(super) text: String,
    pub(super) unknown: Vec<String>,
    pub(super) config: NetworkConfig,
    pub(super) backends: Backends,
}

impl Network {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If it can't be used.
    pub(super) fn read(text: String, cut_by: Subnets) -> Result<Self, String> {
        let parsed = NetworkConfig::parse_for(cut_by, &text);
        let (config, unknown) = parsed.map_err(|error| error.to_string())?;
        let (backends, unknown_options) =
            Backends::parse(&config).map_err(|error| error.to_string())?;
        Ok(Self {
            text,
            unknown: [unknown, unknown_options].concat(),
            config,
            backends,
        })
    }
}
