//! Values of the `Backend` object.

use crate::model::ConfigError;
use crate::model::json::{JsonError, Object};

/// A whole number within bounds.
pub(super) fn number(
    options: &Object,
    key: &str,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, ConfigError> {
    let number = options.u64(key).map_err(in_backend)?.unwrap_or(default);
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(ConfigError(format!(
        "Backend.{key} is {number}; it must be a whole number from {min} to {max}"
    )))
}

/// A switch that is off unless set.
pub(super) fn switch(options: &Object, key: &str) -> Result<bool, ConfigError> {
    Ok(options.bool(key).map_err(in_backend)?.unwrap_or(false))
}

fn in_backend(error: JsonError) -> ConfigError {
    ConfigError(format!("Backend.{error}"))
}
