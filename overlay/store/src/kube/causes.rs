//! Errors in words, without what stands in files with secrets: a parser quotes the lines around a mistake.

use std::error::Error;

use kube::client::AuthError;
use kube::config::KubeconfigError;

/// How the parser begins what it says of a mistake, and what is said instead: its own words name values and keys.
const MISTAKES: [(&str, &str); 6] = [
    ("duplicate mapping key", "a key stands there twice"),
    ("invalid type", "a value there is of another type"),
    ("invalid value", "a value there can't be used"),
    ("missing field", "a key is missing there"),
    ("unexpected end", "it ends too early"),
    ("indent", "the indentation is wrong"),
];

/// An error with its causes; hyper's own text alone says little.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(words) = secretive(error) {
            return words;
        }
        link = error.source();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// What is said of an error whose own text may have a secret in it.
fn secretive(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(KubeconfigError::Parse(parser)) = error.downcast_ref() {
        let place = parser.location();
        let place =
            place.map(|place| format!("line {}, column {}: ", place.line(), place.column()));
        let said = parser.without_snippet().to_string();
        return Some(format!(
            "{}{} (its lines are not shown here)",
            place.unwrap_or_default(),
            kind(&said)
        ));
    }
    if let Some(error) = error.downcast_ref() {
        return match error {
            AuthError::ParseTokenKey(_) => {
                Some("`token-key` is no JSON path (not shown here)".to_owned())
            }
            AuthError::MalformedTokenExpirationDate(_) => {
                Some("the token's expiration is no date (not shown here)".to_owned())
            }
            _ => None,
        };
    }
    let proxy = "its proxy-url is of a kind that can't be used (not shown here)";
    match error.downcast_ref()? {
        kube::Error::ProxyProtocolUnsupported { .. }
        | kube::Error::ProxyProtocolDisabled { .. } => Some(proxy.to_owned()),
        _ => None,
    }
}

/// What kind of mistake it is.
fn kind(said: &str) -> &'static str {
    let mut mistakes = MISTAKES.iter();
    let found = mistakes.find(|(words, _)| said.contains(words));
    found.map_or(
        "what stands there is no YAML, or not of a kubeconfig",
        |(_, words)| words,
    )
}
