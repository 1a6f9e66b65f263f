//! What is made of findings.

use serde_json::json;

use super::healthy::healthy;
use super::own;
use crate::daemon::answers::Preview;
use crate::daemon::status::Standing;
use crate::operator::doctor::catalog::CHECKS;
use crate::operator::doctor::facts::{Counters, Facts};
use crate::operator::doctor::finding::Severity;
use crate::operator::doctor::judge::judge;
use crate::operator::doctor::{exit_code, junit, words};

#[test]
fn without_an_agent_its_absence_is_the_cause_and_what_follows_is_not_told_again() {
    let mut facts = healthy();
    facts.status.pid = None;
    facts.status.ready = false;
    facts.status.lease = Standing::Saved;
    facts.due = Ok(Preview {
        puts: vec!["add route".to_owned()],
        deletes: Vec::new(),
    });
    let report = judge(&facts);
    assert_eq!(report.likely_cause, Some("agent"));
    let of = |id: &str| {
        report
            .findings
            .iter()
            .find(|one| one.id == id)
            .expect("a finding")
    };
    for id in ["kernel-state", "store", "ready"] {
        assert_eq!(of(id).follows, Some("agent"), "{id}");
    }
    let wrong = own(&facts)
        .into_iter()
        .filter(|(_, severity)| *severity == Severity::Fail);
    assert_eq!(wrong.collect::<Vec<_>>(), [("agent", Severity::Fail)]);
}

#[test]
fn what_can_not_be_read_is_not_known_and_no_failure() {
    let mut facts = healthy();
    facts.net = Err("not permitted".to_owned());
    facts.modules = None;
    facts.counters = [Counters::new(), Counters::new()];
    let report = judge(&facts);
    assert_eq!(report.worst(), Severity::Unknown);
    assert_eq!(report.likely_cause, None);
}

#[test]
fn the_worst_finding_decides_the_exit_code_and_warnings_only_if_asked() {
    let code = |facts: &Facts, strict| format!("{:?}", exit_code(&judge(facts), strict));
    let of = |code: u8| format!("{:?}", std::process::ExitCode::from(code));
    let (fine, mut warned, mut broken) = (healthy(), healthy(), healthy());
    warned.pools[0].used = 240;
    broken.runtime.list = Ok(None);
    assert_eq!(code(&fine, true), of(0));
    assert_eq!([code(&warned, false), code(&warned, true)], [of(0), of(1)]);
    assert_eq!([code(&broken, false), code(&broken, true)], [of(2), of(2)]);
}

#[test]
fn the_report_says_first_what_is_wrong_and_counts_the_rest() {
    let mut facts = healthy();
    facts.status.store_error = Some("refused".to_owned());
    facts.pools[0].used = 240;
    let text = words::words(&judge(&facts), false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "likely cause: store: kubernetes is out of reach: refused"
    );
    assert!(lines[2].starts_with("FAIL    store "), "{text}");
    assert!(
        text.contains("\n          do              the network goes on"),
        "{text}"
    );
    assert!(text.find("FAIL") < text.find("warn    addresses"), "{text}");
    assert!(!text.contains("ok      "), "{text}");
    let number = CHECKS.len();
    assert!(
        lines
            .last()
            .is_some_and(|last| last.starts_with(&format!("{number} checks: 1 wrong, 1 warnings"))),
        "{text}"
    );
    let all = words::words(&judge(&facts), true);
    assert!(all.contains("ok      mtu "), "{all}");
}

#[test]
fn the_reports_for_programs_hold_every_check() {
    let mut facts = healthy();
    facts.status.store_error = Some("<refused> & \"gone\"\u{1b}".to_owned());
    let report = judge(&facts);
    let value = json!(report);
    assert_eq!(value["schema"], 1);
    assert_eq!(value["likely_cause"], "store");
    assert_eq!(
        value["findings"].as_array().map(Vec::len),
        Some(CHECKS.len())
    );
    let xml = junit::junit(&report);
    assert_eq!(xml.matches("<testcase ").count(), CHECKS.len());
    assert_eq!(xml.matches("<failure ").count(), 1);
    assert!(
        xml.contains("&lt;refused&gt; &amp; &quot;gone&quot; "),
        "{xml}"
    );
}

#[test]
fn the_document_lists_every_check() {
    let document = include_str!("../../../../../docs/DOCTOR.md");
    for check in CHECKS {
        let row = format!("| `{}` | {} | {} |", check.id, check.about, check.why);
        assert!(document.contains(&row), "docs/DOCTOR.md lacks:\n{row}");
    }
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), CHECKS.len(), "a row of no check");
}
