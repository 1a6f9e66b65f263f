//! What the operator is told once at start.

/// Something to tell the operator once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The flag or variable that caused it.
    pub source: String,
    /// What it means.
    pub text: String,
}

impl From<(String, String)> for Note {
    fn from((source, text): (String, String)) -> Self {
        Self { source, text }
    }
}

impl Note {
    pub(super) fn new(source: impl ToString, text: impl Into<String>) -> Self {
        Self {
            source: source.to_string(),
            text: text.into(),
        }
    }

    /// Words after the first that was no flag.
    pub fn ignored_words(words: &[String]) -> Self {
        Self::new(
            words.join(" "),
            "ignored, as flanneld ignores all that follows the first word that is no flag; a switch takes its value as in --ip-masq=false",
        )
    }
}
