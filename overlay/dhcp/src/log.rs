//! Lines for the journal.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to stderr, if that can be: a full disk or a closed pipe ends nothing.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
