//! A row of the screen.

use std::fmt::{self, Write};

/// `name     value`
pub(super) fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    f.write_fmt(format_args!("{name:<9}{value}"))?;
    f.write_char('\n')
}

/// Values with commas between them.
pub(super) fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    match values.is_empty() {
        true => "none".to_owned(),
        false => values.join(", "),
    }
}
