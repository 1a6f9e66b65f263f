//! `tweed`: the CNI plugins of this project in one binary. Which one runs is decided by the name it is called by.
//! Straight-line, blocking, started once for every verb.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test fails where it fails")
)]
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

#[cfg(test)]
mod arbitrary;
mod net;
mod plugins;
mod runtime;
mod spec;
mod state;

use std::io;
use std::process::ExitCode;

use runtime::{panics, process};

fn main() -> ExitCode {
    panics::answer_in_json();
    let argv0 = std::env::args_os().next().unwrap_or_default();
    ExitCode::from(process::run(process::Process {
        argv0: &argv0,
        env: |name: &str| std::env::var_os(name),
        stdin: &mut io::stdin().lock(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        plugins: plugins::PLUGINS,
    }))
}
