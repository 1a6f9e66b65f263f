//! The report as JUnit's XML, for what collects the results of tests.

use super::finding::{Report, Severity};

/// One suite, one case a check.
pub fn junit(report: &Report) -> String {
    let own = |severity| {
        let findings = report.findings.iter();
        findings.filter(move |one| one.severity == severity && one.follows.is_none())
    };
    let failures = own(Severity::Fail).count();
    let all = report.findings.len();
    let skipped = report.findings.iter().filter(|one| is_skipped(one));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text += &format!(
        "<testsuite name=\"tweedd doctor\" tests=\"{all}\" failures=\"{failures}\" skipped=\"{}\">\n",
        skipped.count()
    );
    for finding in &report.findings {
        let (id, fact) = (finding.id, escaped(&finding.fact));
        text += &format!("  <testcase classname=\"doctor\" name=\"{id}\">");
        if is_skipped(finding) {
            text += &format!("<skipped message=\"{fact}\"/>");
        } else if finding.severity == Severity::Fail {
            let remedy = escaped(finding.remedy.as_deref().unwrap_or_default());
            text += &format!("<failure message=\"{fact}\">{remedy}</failure>");
        } else {
            text += &format!("<system-out>{fact}</system-out>");
        }
        text += "</testcase>\n";
    }
    text + "</testsuite>"
}

/// What was not looked at, or follows from something else.
fn is_skipped(finding: &super::finding::Finding) -> bool {
    let not_made = matches!(finding.severity, Severity::Skipped | Severity::Unknown);
    not_made || finding.follows.is_some()
}

/// A text as XML has it. Control characters have no place there.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            char if char.is_control() => escaped.push(' '),
            char => escaped.push(char),
        }
    }
    escaped
}
