//! What the kernel says of a process.

use std::fs;

use anyhow::{Context, Result};

/// A figure of `/proc/<pid>/status` in MiB, such as `VmRSS` or `RssAnon`.
///
/// # Errors
/// When there is no such process or figure.
pub fn memory(pid: u32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("no {name}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Processor time of all threads, in seconds, to the nanosecond: the ticks of `stat` are too coarse for an idle process.
///
/// # Errors
/// When there is no such process.
pub fn busy_seconds(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos: f64 = text.split(' ').next().context("no figure")?.parse()?;
        total += nanos * 1e-9;
    }
    Ok(total)
}
