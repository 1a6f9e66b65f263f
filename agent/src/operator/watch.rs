//! The screen again and again, until a signal ends the command or nobody reads on. No mode of the terminal is changed, so
//! that there is nothing to put back.

use std::io::{ErrorKind, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::operator::times;

/// Draws again and again, so many seconds apart. `draw` makes the text, at a time in seconds since 1970.
///
/// # Errors
/// When there is nothing to draw, or standard output can't be written to.
pub fn watch(
    seconds: u64,
    now: impl Fn() -> u64,
    mut draw: impl FnMut() -> Result<String>,
) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut before = None;
    loop {
        let text = draw()?;
        let time = times::time(now());
        let frame = match terminal {
            true => redrawn(&time, &text, before.as_deref()),
            false => format!("at {time}\n{}\n\n", text.trim_end()),
        };
        if !written(&frame)? {
            return Ok(());
        }
        before = Some(text);
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// Prints a document a line.
///
/// # Errors
/// As [`watch`].
pub fn documents(seconds: u64, mut draw: impl FnMut() -> Result<String>) -> Result<()> {
    while written(&format!("{}\n", draw()?))? {
        thread::sleep(Duration::from_secs(seconds));
    }
    Ok(())
}

/// Prints, in one piece; `false` if nobody reads on.
fn written(text: &str) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}

/// The text from the first line of the terminal on, and nothing of what stood there. A line that is new or has changed
/// has a star in front.
fn redrawn(time: &str, text: &str, before: Option<&str>) -> String {
    let known: Vec<String> = before
        .iter()
        .flat_map(|text| text.lines())
        .map(constant)
        .collect();
    let line = |line: &str| {
        let is_news = before.is_some() && !line.is_empty() && !known.contains(&constant(line));
        format!("{}{line}\x1b[K\r\n", if is_news { "* " } else { "  " })
    };
    let lines: String = text.lines().map(line).collect();
    format!("\x1b[H  at {time}\x1b[K\r\n{lines}\x1b[J")
}

/// A line without its ages and measured times, which always change.
fn constant(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_unit = |word: &str| {
        let unit = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
        matches!(unit, "s" | "m" | "h" | "d" | "ms")
    };
    let is_number = |word: &str| {
        let word = word.trim_start_matches('(');
        word.parse::<f64>().is_ok()
    };
    let kept = words.iter().enumerate().filter(|(at, word)| {
        let measures = is_number(word) && words.get(at + 1).is_some_and(|next| is_unit(next));
        let measured = *at > 0 && is_number(words[at - 1]) && is_unit(word);
        !measures && !measured
    });
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_marked_and_passing_time_is_no_change() {
        let before = "ready    yes, since 03:12:07 UTC (4 m)\npeers    2\n";
        let now = "ready    yes, since 03:12:07 UTC (5 m)\npeers    3\n";
        let drawn = redrawn("03:17:08 UTC", now, Some(before));
        assert!(drawn.contains("\n  ready "), "{drawn:?}");
        assert!(drawn.contains("\n* peers    3"), "{drawn:?}");
        assert!(!redrawn("", now, None).contains('*'), "all is new at first");
    }

    #[test]
    fn numbers_that_are_no_times_count() {
        assert_eq!(
            constant("kernel   as wanted, checked 12 s ago"),
            "kernel as wanted, checked ago"
        );
        assert_eq!(
            constant("192.0.2.12  vxlan  0.2 ms  4 d"),
            "192.0.2.12 vxlan"
        );
        assert_eq!(constant("bridge   cni0, 7 pods"), "bridge cni0, 7 pods");
    }
}
