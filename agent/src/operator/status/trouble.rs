//! What is wrong, and since when.

use std::fmt;

use super::rows::row;
use super::teller::{agent, answers, ready};
use crate::daemon::status::Status;

/// The rows that are read first.
pub(super) fn trouble(f: &mut fmt::Formatter<'_>, status: &Status, now: u64) -> fmt::Result {
    row(f, "ready", ready(status, now))?;
    for reason in &status.not_ready {
        row(f, "", reason)?;
    }
    row(f, "agent", agent(status, now))?;
    // Some of them keep the node from being ready, and stand above.
    let said = |text: &String| status.not_ready.contains(text);
    let warnings = status.warnings.iter().map(|warning| &warning.text);
    for warning in warnings.filter(|text| !said(text)) {
        row(f, "warning", warning)?;
    }
    for warning in status.cni.iter().flat_map(|cni| &cni.warnings) {
        row(f, "warning", warning)?;
    }
    for reason in &status.host {
        row(f, "host", reason)?;
    }
    for (object, times) in &status.kernel.fights {
        let text = format!("another program keeps changing {object} (seen {times} times)");
        row(f, "fight", text)?;
    }
    // The table of peers has them.
    if status.peer_list.is_none() {
        for lease in &status.refused {
            row(f, "refused", format!("{}: {}", lease.lease, lease.reason))?;
        }
    }
    for (key, text) in &status.reserved {
        row(f, "reserved", format!("{key}: {text}"))?;
    }
    for (key, reason) in &status.broken {
        row(f, "ignored", format!("{key}: {reason}"))?;
    }
    if status.more_bad_entries > 0 {
        row(
            f,
            "",
            format!("and {} more entries", status.more_bad_entries),
        )?;
    }
    if answers(status) && status.sandbox.is_empty() {
        row(f, "sandbox", "off")?;
    }
    Ok(())
}
