//! Values of the `Backend` object.

use tweed_model::ConfigError;
use tweed_model::json::{JsonError, Object};

/// A whole number within bounds.
pub(super) fn number(
    options: &Object,
    key: &str,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, ConfigError> {
    Ok(optional(options, key, min, max)?.unwrap_or(default))
}

/// A whole number within bounds, if there is one.
pub(super) fn optional(
    options: &Object,
    key: &str,
    min: u64,
    max: u64,
) -> Result<Option<u64>, ConfigError> {
    match options.u64(key).map_err(in_backend)? {
        Some(number) if !(min..=max).contains(&number) => Err(ConfigError(format!(
            "Backend.{key} is {number}; it must be a whole number from {min} to {max}"
        ))),
        number => Ok(number),
    }
}

/// A priority as `nice` counts them.
pub(super) fn priority(options: &Object, key: &str, default: i8) -> Result<i8, ConfigError> {
    let number = options.i64(key).map_err(in_backend)?;
    let number = number.unwrap_or(default.into());
    let priority = i8::try_from(number)
        .ok()
        .filter(|nice| (-20..=19).contains(nice));
    priority.ok_or_else(|| {
        ConfigError(format!(
            "Backend.{key} is {number}; it must be a whole number from -20 to 19"
        ))
    })
}

pub(super) fn switch(options: &Object, key: &str, default: bool) -> Result<bool, ConfigError> {
    Ok(options.bool(key).map_err(in_backend)?.unwrap_or(default))
}

/// One of some words, the first unless set.
pub(super) fn choice<T: Copy>(
    options: &Object,
    key: &str,
    words: &[(&str, T)],
) -> Result<T, ConfigError> {
    let word = options.string(key).map_err(in_backend)?;
    let word = word.as_deref().unwrap_or(words[0].0);
    let found = words.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        ConfigError(format!(
            "Backend.{key} is {word:?}; it must be one of {}",
            names.join(", ")
        ))
    })
}

/// An error of a document, with the place of the `Backend` object.
pub(super) fn in_backend(error: JsonError) -> ConfigError {
    ConfigError(format!("Backend.{error}"))
}
