//! A panic becomes an error object: a runtime that gets no JSON can report nothing but an exit code.

use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::panic;
use std::sync::OnceLock;

use crate::spec::{CniError, Version, wire};

static VERSION: OnceLock<Version> = OnceLock::new();

/// Has every panic, on whatever thread, end the process with an error object on stdout and exit code 1.
pub(crate) fn answer_in_json() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string);
        let text = answer(message, &place.unwrap_or_default());
        // Past the lock of stdout, which another thread may hold while it waits for this one.
        let _ = nix::unistd::write(io::stdout().as_fd(), text.as_bytes());
        std::process::exit(1);
    }));
}

/// Sets the version of the error object.
pub(crate) fn set_version(version: Version) {
    let _ = VERSION.set(version);
}

fn answer(message: &str, place: &dyn Display) -> String {
    let version = VERSION.get().copied().unwrap_or(Version::NEWEST);
    let error = CniError::failed(format!("defect in tweed at {place}: {message}"))
        .details("DEL removes what is left; please report it with the configuration");
    wire::pretty(&error.to_json(version.name()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_defect_on_any_thread_is_answered_with_one_error_object() {
        const INSIDE: &str = "TWEED_TEST_OF_A_DEFECT";
        if std::env::var_os(INSIDE).is_some() {
            answer_in_json();
            let _held = io::stdout().lock();
            let thread = std::thread::spawn(|| panic!("not {:?} yet", "thought of"));
            let _ = thread.join();
            return;
        }
        let name =
            "runtime::panics::tests::a_defect_on_any_thread_is_answered_with_one_error_object";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        let object = &text[text.find('{').unwrap()..];
        let error: Value = serde_json::from_str(object).unwrap();
        assert_eq!(
            (&error["code"], &error["cniVersion"]),
            (&999.into(), &"1.1.0".into())
        );
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.ends_with(": not \"thought of\" yet"), "{msg}");
    }
}
