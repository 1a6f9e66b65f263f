//! Log lines of bounded length, whatever stands in their fields: texts of others are shortened where they are quoted, and
//! what gets past that is cut here. One event stays one line.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;
use tweed_model::shown::shortened;

use super::queue;

/// The longest line of text in bytes.
const TEXT: usize = 4_000;
/// The longest member of a line of JSON.
const MEMBER: usize = 1_000;

/// Standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    /// Lines are JSON.
    pub(super) json: bool,
    /// Colours are used: escape sequences are our own then.
    pub(super) colours: bool,
}

/// One line of it.
#[derive(Debug)]
pub(super) struct Line(Bounded);

impl<'a> MakeWriter<'a> for Bounded {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(*self)
    }
}

impl Write for Line {
    /// Takes a whole event, which is how the formatter writes.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = match self.0.json {
            true => json(event),
            false => text(event, self.0.colours),
        };
        queue::put(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn text(event: &[u8], colours: bool) -> Cow<'_, [u8]> {
    let line = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
    let clean = match colours && line.len() <= TEXT {
        true => {
            let parts = line.split('\u{1b}').map(|part| shortened(part, TEXT));
            Cow::Owned(parts.collect::<Vec<_>>().join("\u{1b}"))
        }
        false => shortened(&line, TEXT),
    };
    if clean.as_bytes() == event.strip_suffix(b"\n").unwrap_or(event) {
        return Cow::Borrowed(event);
    }
    Cow::Owned(format!("{clean}\n").into_bytes())
}

fn json(event: &[u8]) -> Cow<'_, [u8]> {
    if event.len() <= TEXT {
        return Cow::Borrowed(event);
    }
    let mut line = match serde_json::from_slice::<Value>(event) {
        Ok(Value::Object(mut members)) => {
            for member in members.values_mut() {
                *member = short(member.take());
            }
            Value::Object(members).to_string()
        }
        _ => String::new(),
    };
    if line.is_empty() || line.len() > 64 * MEMBER {
        let bytes = event.len();
        line = serde_json::json!({"level": "WARN", "message": "a log line was left out", "bytes": bytes})
            .to_string();
    }
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

fn short(member: Value) -> Value {
    match member {
        Value::String(text) => Value::String(shortened(&text, MEMBER).into_owned()),
        Value::Array(_) | Value::Object(_) => {
            let text = member.to_string();
            match text.len() > MEMBER {
                true => Value::String(shortened(&text, MEMBER).into_owned()),
                false => member,
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_field_makes_a_short_line_of_either_form() {
        let huge = "x".repeat(20 << 20);
        let line = format!("WARN lease ignored reason={huge}\n");
        let found = text(line.as_bytes(), false).into_owned();
        assert!(found.len() < TEXT + 100, "{}", found.len());
        assert!(found.starts_with(b"WARN lease ignored") && found.ends_with(b"bytes)\n"));
        let line = serde_json::json!({"level": "WARN", "message": "m", "reason": huge}).to_string();
        let found = json(line.as_bytes()).into_owned();
        let found: Value = serde_json::from_slice(&found).expect("JSON");
        assert_eq!(found["message"], "m");
        let reason = found["reason"].as_str().expect("a text");
        assert!(
            reason.len() < MEMBER + 100 && reason.ends_with("bytes)"),
            "{reason}"
        );
    }

    #[test]
    fn one_event_is_one_line_and_steers_no_terminal() {
        let found = text(b"WARN a\nforged INFO line \x1b[2J\n", false).into_owned();
        assert_eq!(found, b"WARN a\\nforged INFO line \\u{1b}[2J\n");
        for colours in [false, true] {
            // Some terminals take this letter for the beginning of a sequence, and this turns the writing.
            let found = text("WARN a\u{9b}2J\u{202e}\n".as_bytes(), colours).into_owned();
            assert_eq!(found, b"WARN a\\u{9b}2J\\u{202e}\n");
            let letters = "WARN ä\u{a0}é\n".as_bytes();
            assert_eq!(text(letters, colours).into_owned(), letters);
        }
        let plain = b"\x1b[33mWARN\x1b[0m all is well\n";
        assert_eq!(text(plain, true).into_owned(), plain);
        let broken = text(b"\x1b[33mWARN\x1b[0m a\nb\n", true).into_owned();
        assert_eq!(broken, b"\x1b[33mWARN\x1b[0m a\\nb\n");
    }
}
