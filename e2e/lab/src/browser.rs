//! A real browser without a screen: Debian's chromium, with a profile that is gone afterwards.

use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::Place;

/// What every run is told: no sandbox of its own, which root can't have; no graphics card; nothing of its maker's.
const QUIET: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
];

/// The theme that a person has chosen.
#[derive(Clone, Copy, Debug)]
pub enum Theme {
    /// Dark writing.
    Light,
    /// Light writing.
    Dark,
}

/// The document as the browser has read it.
///
/// # Errors
/// When the browser can't be run.
pub fn document(place: Place<'_>, url: &str) -> Result<String> {
    run(place, &["--dump-dom", url]).map(|output| String::from_utf8_lossy(&output).into_owned())
}

/// A picture of a page as PNG, of a window this wide and high, in pixels.
///
/// # Errors
/// When the browser can't be run, or shows nothing.
pub fn picture(
    place: Place<'_>,
    url: &str,
    (width, height): (u32, u32),
    theme: Theme,
) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("page.png");
    let scheme = match theme {
        Theme::Dark => 0,
        Theme::Light => 1,
    };
    let words = [
        format!("--screenshot={}", file.display()),
        format!("--window-size={width},{height}"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
        url.to_owned(),
    ];
    run(place, &words.each_ref().map(String::as_str))?;
    std::fs::read(&file).with_context(|| format!("no picture of {url}"))
}

fn run(place: Place<'_>, words: &[&str]) -> Result<Vec<u8>> {
    let profile = tempfile::tempdir()?;
    let mut command = Command::new("chromium");
    command
        .args(QUIET)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(words)
        .env("HOME", profile.path())
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let output = place.output(&mut command, "")?;
    anyhow::ensure!(
        output.status.success(),
        "chromium: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
