//! The other side of the comparison: iproute2, in the calling thread's namespace.

use std::process::Command;

use serde_json::Value;

/// Runs a command line (split at spaces) and returns what it printed. Panics with its message if it fails.
pub(crate) fn run(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    run_args(words[0], &words[1..])
}

/// The same, with the words apart.
pub(crate) fn run_args(program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command line that prints JSON.
pub(crate) fn json(line: &str) -> Value {
    let text = run(line);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}
