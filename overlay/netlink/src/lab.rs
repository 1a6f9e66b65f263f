//! For tests: commands in the namespace of the calling thread, and namespaces with names beside it.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::Netns;

/// Runs a program to its end and gives what it prints.
///
/// # Panics
/// With its message when it fails.
pub fn run_args(program: &str, words: &[&str]) -> String {
    let output = output(program, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8(output.stdout).expect("a program prints UTF-8")
}

/// Runs words that are separated by spaces.
///
/// # Panics
/// When the program fails.
pub fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    run_args(words[0], &words[1..])
}

/// Runs `ip` with each of these lines and gives what all print.
///
/// # Panics
/// When one fails.
pub fn ip(lines: &str) -> String {
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| run(&format!("ip {line}"))).collect()
}

/// Runs a script of the shell, which ends with its first failure.
///
/// # Panics
/// When it fails.
pub fn sh(script: &str) -> String {
    run_args("sh", &["-ec", script])
}

/// A network namespace with a name, which goes with this.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, whose name begins with this.
    ///
    /// # Panics
    /// When it can't be made (root is needed).
    pub fn new(prefix: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        run_args("ip", &["netns", "add", &name]);
        Self { name }
    }

    /// Its name, by which `ip` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the namespace's file.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// The namespace, for running code inside.
    ///
    /// # Panics
    /// When it is gone.
    pub fn netns(&self) -> Netns {
        Netns::open(self.path()).expect("the namespace is there")
    }

    /// Runs a script of the shell inside.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, script: &str) -> String {
        let (good, text) = self.tries(script);
        assert!(good, "{script}: {text}");
        text
    }

    /// Whether a script of the shell succeeds inside, and all that it prints.
    pub fn tries(&self, script: &str) -> (bool, String) {
        let words = ["netns", "exec", &self.name, "sh", "-ec", script];
        let output = output("ip", &words);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

fn output(program: &str, words: &[&str]) -> Output {
    let output = Command::new(program).args(words).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}
