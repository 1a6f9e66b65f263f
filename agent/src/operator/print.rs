//! Printing a command's result on standard output.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::config::cli::Output;

/// Prints a result as `text` for people, or as one JSON document.
///
/// # Errors
/// If standard output can't be written to; that nobody reads on (`| head`) is no error.
pub fn print<T: Serialize + ?Sized>(
    output: Output,
    value: &T,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&serde_json::to_string_pretty(value).context("encode the result")?),
    }
}

/// Prints a text; nothing at all if it is empty.
///
/// # Errors
/// As [`print()`].
pub fn line(text: &str) -> anyhow::Result<()> {
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}
