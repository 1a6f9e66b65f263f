//! Which agent tells, and whether its node is ready.

use crate::daemon::status::Status;
use crate::operator::times::{ago, since};

/// Whether an agent told all this. One that doesn't answer says nothing of itself.
pub(super) fn answers(status: &Status) -> bool {
    status.pid.is_some() && !status.silent
}

/// The agent that tells: `pid 4660, up 4 d`.
pub(super) fn agent(status: &Status, now: u64) -> String {
    match status.pid {
        Some(pid) if status.silent => format!("pid {pid}, does not answer"),
        Some(pid) => {
            let up = status.started.map(|at| format!(", up {}", ago(at, now)));
            format!(
                "tweedd {}, pid {pid}{}",
                status.version,
                up.unwrap_or_default()
            )
        }
        None if status.silent => "does not answer".to_owned(),
        None => "none, as far as this command can tell".to_owned(),
    }
}

/// `yes, since 03:12:07 UTC (4 m)`
pub(super) fn ready(status: &Status, now: u64) -> String {
    let answer = if status.ready { "yes" } else { "no" };
    let since = status
        .ready_since
        .map(|at| format!(", since {}", since(at, now)));
    format!("{answer}{}", since.unwrap_or_default())
}
