//! `tweed`: the CNI plugins of this project in one binary. Which one runs is decided by the name it is called by.
//! Straight-line, blocking, started once for every verb.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test fails where it fails")
)]
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod fuzz;
mod net;
mod plugins;
mod run;
mod runtime;
mod spec;
mod state;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use net::unlink;
use runtime::{log, panics, process};

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(arguments) = daemon_arguments(&argv0, &arguments) {
        return match tweed_dhcp::daemon::run(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::line(format_args!("dhcp daemon: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    if arguments == [unlink::REMOVER] {
        return match unlink::run_remover() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::line(format_args!("remove links: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    if let Some(code) = run::run(&argv0, &arguments, plugins::PLUGINS) {
        return ExitCode::from(code);
    }
    panics::answer_in_json();
    ExitCode::from(process::run(process::Process {
        argv0: &argv0,
        env: |name: &str| std::env::var_os(name),
        stdin: &mut io::stdin().lock(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        plugins: plugins::PLUGINS,
    }))
}

/// The arguments of `dhcp daemon`, if that is what is called.
fn daemon_arguments<'a>(argv0: &OsStr, arguments: &'a [String]) -> Option<&'a [String]> {
    let is_dhcp = Path::new(argv0).file_name() == Some("dhcp".as_ref());
    let (first, rest) = arguments.split_first()?;
    (is_dhcp && first == "daemon").then_some(rest)
}
