//! Runs scenarios by name, in order, and prints what the usual harness would print.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};

/// What ran, and how it ended.
pub(crate) struct Report {
    filters: Vec<String>,
    passed: usize,
    failed: Vec<String>,
    start: Instant,
}

impl Report {
    /// Scenarios whose names contain one of the words of the command line; all if there is none.
    pub(crate) fn from_args() -> Self {
        let filters = std::env::args()
            .skip(1)
            .filter(|word| !word.starts_with('-'))
            .collect();
        Self {
            filters,
            passed: 0,
            failed: Vec::new(),
            start: Instant::now(),
        }
    }

    /// Whether a scenario of these is asked for; a group that shares a cluster need not start it otherwise.
    pub(crate) fn wants(&self, names: &[&str]) -> bool {
        self.filters.is_empty()
            || names
                .iter()
                .any(|name| self.filters.iter().any(|filter| name.contains(filter)))
    }

    /// Runs a scenario if it is asked for; tells whether those after it can go on.
    pub(crate) fn run(&mut self, name: &str, scenario: impl FnOnce() -> Result<()>) -> bool {
        if !self.wants(&[name]) {
            return true;
        }
        let start = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(scenario))
            .unwrap_or_else(|_| Err(anyhow!("panicked")));
        let taken = start.elapsed();
        match outcome {
            Ok(()) => {
                println!("test {name} ... ok ({taken:.1?})");
                self.passed += 1;
                true
            }
            Err(error) => {
                println!("test {name} ... FAILED ({taken:.1?})\n{error:#}\n");
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Takes over what another one has counted.
    pub(crate) fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
    }

    /// Counts something as failed that scenarios need.
    pub(crate) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        println!("test {name} ... FAILED\n{error:#}\n");
        self.failed.push(name.to_owned());
    }

    /// Prints the result line.
    pub(crate) fn finish(self) -> ExitCode {
        let failed = self.failed.len();
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {failed} failed; finished in {:.0?}",
            self.passed,
            self.start.elapsed()
        );
        if failed > 0 {
            println!("failed: {}", self.failed.join(", "));
        }
        ExitCode::from(u8::from(failed > 0))
    }
}
