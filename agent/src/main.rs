//! `tweedd`: the per-node agent of the Tweed overlay network, and its operator commands.
//! Parse, dispatch, exit code; everything else is below.
#![expect(
    unreachable_pub,
    reason = "nothing of a program is reachable from outside; here pub means: for the rest of the program"
)]

mod config;
mod daemon;
mod dispatch;
mod events;
mod files;
#[cfg(test)]
mod fixture;
mod host;
mod operator;
mod page;
mod runtime;
mod store;
mod telemetry;

use std::io::ErrorKind;
use std::process::ExitCode;

use config::settings::UsageError;
use daemon::inherited::Inherited;

/// Exit code for a command line or environment that can't be used (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    tweed_host::memory::keep_little();
    // Before anything is opened.
    let inherited = Inherited::take();
    let invocation = match config::cli::read(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            // Standard error may be closed: the message is lost then.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(USAGE),
                false => ExitCode::SUCCESS,
            };
        }
    };
    dispatch::dispatch(invocation, inherited).unwrap_or_else(|error| {
        let hint = if is_for_root(&error) {
            " (run as root)"
        } else {
            ""
        };
        eprintln!("tweedd: {error:#}{hint}");
        match error.is::<UsageError>() {
            true => ExitCode::from(USAGE),
            false => ExitCode::FAILURE,
        }
    })
}

/// Whether somebody else than root was refused something that root may do, and the words don't say it.
fn is_for_root(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    let refused = cause.is_some_and(|cause| cause.kind() == ErrorKind::PermissionDenied);
    refused && !nix::unistd::geteuid().is_root() && !format!("{error:#}").contains("run as root")
}
