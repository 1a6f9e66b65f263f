//! Printing a command's result on standard output.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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

/// Whether somebody still reads what is printed; a reader of a pipe may have ended without a word.
pub fn is_read() -> bool {
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let polled = poll(&mut asked, PollTimeout::ZERO);
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL;
    polled.is_err() || !asked[0].revents().is_some_and(|is| is.intersects(gone))
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
