//! Makes the checks, and finds what follows from what.

use super::catalog::{CHECKS, Check};
use super::facts::Facts;
use super::finding::{Finding, Report, SCHEMA, Severity};

/// Judges the facts.
pub fn judge(facts: &Facts) -> Report {
    let mut findings: Vec<Finding> = Vec::new();
    for check in CHECKS {
        let follows = cause(check, &findings);
        let verdict = (check.look)(facts);
        // What is fine in spite of it doesn't follow from it.
        let follows = follows.filter(|_| verdict.severity > Severity::Info);
        findings.push(Finding {
            id: check.id,
            about: check.about,
            severity: verdict.severity,
            fact: verdict.fact,
            why: check.why,
            remedy: verdict.remedy,
            evidence: verdict.evidence,
            follows,
        });
    }
    let first = |severity| {
        let mut own = findings.iter().filter(|one| one.follows.is_none());
        own.find(|one| one.severity == severity).map(|one| one.id)
    };
    Report {
        schema: SCHEMA,
        network: facts.network_name.clone(),
        likely_cause: first(Severity::Fail).or_else(|| first(Severity::Warn)),
        findings,
    }
}

/// The failure from which a check's follows: its cause's own cause where there is one.
fn cause(check: &Check, findings: &[Finding]) -> Option<&'static str> {
    let wrong = |id: &&&str| {
        let finding = findings.iter().find(|finding| finding.id == **id)?;
        let wrong = finding.severity == Severity::Fail;
        wrong.then_some(finding.follows.unwrap_or(finding.id))
    };
    check.after.iter().find_map(|id| wrong(&id))
}
