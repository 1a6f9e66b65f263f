//! Which build this is.

/// The version, and in what `make build` makes the commit too, as `0.1.0+559f8a9`. The build sets `TWEED_VERSION`; sources
/// without git are built with the release's number alone.
pub const VERSION: &str = match option_env!("TWEED_VERSION") {
    Some(given) if !given.is_empty() => given,
    _ => env!("CARGO_PKG_VERSION"),
};
