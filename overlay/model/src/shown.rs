//! Foreign text in messages: of any length and with any characters in it, since somebody else wrote it.

use std::borrow::Cow;
use std::fmt::Write;

/// So many bytes of it are shown.
pub(crate) const SHOWN: usize = 200;

/// A text as messages quote it: shortened, and without characters that would do something to a terminal or a log.
pub fn shown(text: &str) -> Cow<'_, str> {
    shortened(text, SHOWN)
}

/// The same with another limit in bytes; how long it was is said.
pub fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    let fits = text.len() <= limit;
    if fits && !text.chars().any(unprintable) {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(limit);
    let mut clean = String::with_capacity(end + 24);
    for letter in text[..end].chars() {
        match unprintable(letter) {
            true => clean.extend(letter.escape_default()),
            false => clean.push(letter),
        }
    }
    if !fits {
        // A string takes everything.
        let _ = write!(clean, "… ({} bytes)", text.len());
    }
    Cow::Owned(clean)
}

/// Control characters, and those that turn the direction of writing.
fn unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_short_and_plain_stays_as_it_is() {
        assert_eq!(shown("10.244.3.0-24"), "10.244.3.0-24");
        assert_eq!(shown("prüfen"), "prüfen");
    }

    #[test]
    fn what_is_long_is_cut_and_what_would_act_is_escaped() {
        let long = shown(&"ü".repeat(20 << 20)).into_owned();
        assert!(
            long.len() < 240 && long.ends_with("… (41943040 bytes)"),
            "{long}"
        );
        assert_eq!(shown("a\nb\u{1b}[2J\u{202e}"), "a\\nb\\u{1b}[2J\\u{202e}");
    }

    proptest! {
        #[test]
        fn no_text_is_shown_longer_than_its_limit_allows(text in ".*", limit in 0usize..64) {
            let found = shortened(&text, limit);
            prop_assert!(found.len() <= limit * 10 + 40);
            prop_assert!(!found.chars().any(unprintable));
        }
    }
}
