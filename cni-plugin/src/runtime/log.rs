//! Lines for the runtime's log. They are optional: `eprintln!` would end the plugin where stderr is closed or full.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to stderr, if that can be.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
