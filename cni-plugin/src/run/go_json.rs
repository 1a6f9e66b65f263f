//! JSON byte for byte as Go's library writes it, so that files and standard input are the same whichever runtime made
//! them.

use serde_json::Value;

/// One line, keys as they stand. Go writes the characters that HTML gives a meaning as escapes; in JSON they stand in
/// texts alone.
pub(crate) fn line(value: &Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        match character {
            '<' => line.push_str("\\u003c"),
            '>' => line.push_str("\\u003e"),
            '&' => line.push_str("\\u0026"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            other => line.push(other),
        }
    }
    line
}
