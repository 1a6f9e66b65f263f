//! What should run in the guest, what has run, and how it ended. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::programs::Program;

/// Prefix of the guest's own lines; everything else comes from a test program.
const OWN: &str = "guest: ";

/// Tests by the program that they are in.
#[derive(Debug, Default)]
pub(super) struct Report {
    missing: BTreeMap<String, BTreeSet<String>>,
    failed: Vec<String>,
    /// The program that runs.
    program: Option<String>,
    done: bool,
}

impl Report {
    pub(super) fn new(programs: &[Program]) -> Self {
        let tests = programs.iter().map(|program| {
            let tests = program.tests.iter().cloned().collect();
            (program.label.clone(), tests)
        });
        Self {
            missing: tests.collect(),
            done: programs.is_empty(),
            ..Self::default()
        }
    }

    /// Takes a line of the guest's.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(own) = line.strip_prefix(OWN) {
            return self.own(own);
        }
        let Some((name, outcome)) = outcome(line) else {
            return;
        };
        let Some(program) = self.program.as_ref() else {
            return;
        };
        let of_program = self.missing.get_mut(program);
        let was_expected = of_program.is_some_and(|tests| tests.remove(name));
        if outcome != "ok" || !was_expected {
            self.failed.push(format!("{program} {name}: {outcome}"));
        }
    }

    fn own(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("runs"), Some(program), _) => self.program = Some(program.to_owned()),
            (Some("ended"), Some(program), Some(code)) => {
                if code != "0" {
                    self.failed.push(format!("{program} ended with {code}"));
                }
                self.program = None;
            }
            (Some("done"), ..) => self.done = true,
            (Some("broken"), ..) => self.failed.push(line.to_owned()),
            _ => {}
        }
    }

    /// Counts something as failed that is no test.
    pub(super) fn fail(&mut self, what: String) {
        self.failed.push(what);
    }

    /// What is wrong, a line each.
    fn faults(self) -> Vec<String> {
        let mut faults = self.failed;
        if !self.done {
            faults.push("the guest ended before its tests had".to_owned());
        }
        for (program, tests) in self.missing {
            faults.extend(
                tests
                    .iter()
                    .map(|test| format!("{program} {test}: has not run")),
            );
        }
        faults
    }

    /// Prints what is wrong, as a result of its own, and returns whether nothing is.
    pub(super) fn finish(self) -> bool {
        let faults = self.faults();
        if !faults.is_empty() {
            println!("\nguest: failed:");
            faults.iter().for_each(|fault| println!("    {fault}"));
            println!("\ntest result: FAILED. 0 passed; {} failed", faults.len());
        }
        faults.is_empty()
    }
}

/// The name in a line such as `test a::b ... ok`, and the word after it.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name, outcome.split([' ', ',']).next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(&[Program {
            label: "cni-plugin/plugins".into(),
            path: "/x".into(),
            folder: "/".into(),
            tests: vec!["vlan::a".into(), "vlan::b".into()],
        }])
    }

    fn faults(lines: &[&str]) -> Vec<String> {
        let mut report = report();
        lines.iter().for_each(|line| report.line(line));
        report.faults()
    }

    #[test]
    fn all_is_well_when_every_test_has_run_and_passed() {
        let lines = [
            "guest: runs cni-plugin/plugins",
            "running 2 tests",
            "test vlan::b ... ok",
            "test vlan::a ... ok",
            "guest: ended cni-plugin/plugins 0",
            "guest: done",
        ];
        assert_eq!(faults(&lines), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_fails_is_skipped_or_never_runs_is_a_fault_and_so_is_an_early_end() {
        let begin = "guest: runs cni-plugin/plugins";
        let found = faults(&[
            begin,
            "test vlan::b ... FAILED",
            "guest: ended cni-plugin/plugins 101",
            "guest: done",
        ]);
        let expected = [
            "cni-plugin/plugins vlan::b: FAILED",
            "cni-plugin/plugins ended with 101",
            "cni-plugin/plugins vlan::a: has not run",
        ];
        assert_eq!(found, expected);
        let found = faults(&[
            begin,
            "test vlan::a ... ok",
            "test vlan::b ... ignored, needs a kernel",
        ]);
        let expected = [
            "cni-plugin/plugins vlan::b: ignored",
            "the guest ended before its tests had",
        ];
        assert_eq!(found, expected);
        let found = faults(&["guest: broken module x", "guest: done"]);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
