//! The report for people: what is wrong first.

use super::finding::{Finding, Report, Severity};

/// So many facts of a finding are shown.
const SHOWN: usize = 10;

/// One screen. What is fine is counted, and listed where that was asked for.
pub fn words(report: &Report, all: bool) -> String {
    let mut text = String::new();
    if let Some(cause) = report.likely_cause
        && let Some(finding) = report.findings.iter().find(|one| one.id == cause)
    {
        text += &format!("likely cause: {}: {}\n\n", finding.id, finding.fact);
    }
    let own = |severity| {
        let findings = report.findings.iter();
        findings.filter(move |one| one.severity == severity && one.follows.is_none())
    };
    for severity in [Severity::Fail, Severity::Warn, Severity::Unknown] {
        own(severity).for_each(|finding| text += &paragraph(finding));
    }
    for finding in own(Severity::Info) {
        text += &line(finding);
    }
    let follow: Vec<String> = report
        .findings
        .iter()
        .filter_map(|one| Some(format!("{} (after {})", one.id, one.follows?)))
        .collect();
    if !follow.is_empty() {
        text += &format!("follow from that: {}\n", follow.join(", "));
    }
    if all {
        for severity in [Severity::Ok, Severity::Skipped] {
            own(severity).for_each(|finding| text += &line(finding));
        }
    }
    let count = |severity| own(severity).count();
    text += &format!(
        "{} checks: {} wrong, {} warnings, {} not known, {} fine, {} not for this host\n",
        report.findings.len(),
        count(Severity::Fail),
        count(Severity::Warn),
        count(Severity::Unknown),
        count(Severity::Ok) + count(Severity::Info),
        count(Severity::Skipped),
    );
    text
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Skipped => "-",
        Severity::Ok => "ok",
        Severity::Info => "info",
        Severity::Unknown => "unknown",
        Severity::Warn => "warn",
        Severity::Fail => "FAIL",
    }
}

fn line(finding: &Finding) -> String {
    format!(
        "{:<8}{:<18}{}\n",
        word(finding.severity),
        finding.id,
        finding.fact
    )
}

fn paragraph(finding: &Finding) -> String {
    let mut text = line(finding);
    let mut below = |name: &str, words: &str| text += &format!("{:<8}{name:<18}{words}\n", "");
    for fact in finding.evidence.iter().take(SHOWN) {
        below("", fact);
    }
    if finding.evidence.len() > SHOWN {
        let more = finding.evidence.len() - SHOWN;
        below("", &format!("and {more} more"));
    }
    below("  why", finding.why);
    if let Some(remedy) = &finding.remedy {
        below("  do", remedy);
    }
    text.push('\n');
    text
}
