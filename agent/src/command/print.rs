//! Printing a command's result on standard output.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::cli::Output;

/// Prints the result for people as `text`, or as one JSON document.
///
/// # Errors
/// If standard output can't be written to; that nobody reads on (`| head`) is no error.
pub fn result(output: Output, text: impl Display, value: &impl Serialize) -> anyhow::Result<()> {
    match output {
        Output::Text => write(text.to_string().trim_end()),
        Output::Json => write(&serde_json::to_string_pretty(value).context("encode the result")?),
    }
}

fn write(text: &str) -> anyhow::Result<()> {
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
