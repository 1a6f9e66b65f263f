//! Rules of others.

use tweed_kernel::firewall::Hindrance;

use crate::operator::doctor::facts::Facts;
use crate::operator::doctor::finding::Verdict;

/// Warnings of a kind: those of the agent, which knows its tunnels, else what this command has found by itself.
fn of_kind(facts: &Facts, kind: &str) -> Result<Vec<(String, bool)>, String> {
    if facts.answers() {
        let warnings = facts.status.warnings.iter();
        let found = warnings.filter(|warning| warning.kind == kind);
        return Ok(found
            .map(|warning| (warning.text.clone(), stops(facts, warning)))
            .collect());
    }
    let hindrances = facts.hindrances.as_ref().map_err(Clone::clone)?;
    let found = hindrances.iter().filter(|one| one.kind() == kind);
    Ok(found
        .map(|one| (one.to_string(), Hindrance::stops(one)))
        .collect())
}

/// Whether the agent isn't ready for it.
fn stops(facts: &Facts, warning: &crate::daemon::status::HostWarning) -> bool {
    facts
        .status
        .not_ready
        .iter()
        .any(|reason| reason.contains(&warning.text))
}

fn verdict(facts: &Facts, kind: &str, fine: &str) -> Verdict {
    let found = match of_kind(facts, kind) {
        Err(reason) => return Verdict::unknown(reason),
        Ok(found) => found,
    };
    let remedy = "the line says which rule to add, or whose it is";
    let further = || found.iter().skip(1).map(|(text, _)| text.clone());
    match found.first() {
        None => Verdict::ok(fine),
        Some((text, _)) if found.iter().any(|(_, stops)| *stops) => {
            Verdict::fail(text, remedy).because(further())
        }
        Some((text, _)) => Verdict::warn(text, remedy).because(further()),
    }
}

pub fn forward(facts: &Facts) -> Verdict {
    verdict(facts, "forward", "none drops them, as far as can be read")
}

pub fn input(facts: &Facts) -> Verdict {
    if !facts.answers() {
        return Verdict::unknown("only a running agent knows its tunnels");
    }
    verdict(facts, "input", "none drops them, as far as can be read")
}

pub fn leftovers(facts: &Facts) -> Verdict {
    verdict(facts, "flannel", "none")
}
