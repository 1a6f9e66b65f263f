//! Tokens as they go into a request.

use http::HeaderValue;

/// A token without blanks at its ends, as a header. The library ends the process over one that can't be one.
pub(super) fn bearer(token: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
        format!("{what} is no token: it has line breaks within, or other control characters")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
