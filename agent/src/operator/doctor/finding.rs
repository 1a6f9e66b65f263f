//! What a check finds.

use serde::Serialize;

/// Version of the document: it rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// How much a finding matters to the traffic of pods on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// There is nothing to look at on this host.
    Skipped,
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Couldn't be looked at.
    Unknown,
    /// Something will go wrong, or goes wrong for some.
    Warn,
    /// Pods can't reach each other, or can't start.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub severity: Severity,
    /// One fact.
    pub fact: String,
    /// What to do, where there is something.
    pub remedy: Option<String>,
    /// The facts one by one, where there are many.
    pub evidence: Vec<String>,
}

impl Verdict {
    fn new(severity: Severity, fact: impl Into<String>) -> Self {
        Self {
            severity,
            fact: fact.into(),
            remedy: None,
            evidence: Vec::new(),
        }
    }

    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::new(Severity::Skipped, reason)
    }

    pub fn ok(fact: impl Into<String>) -> Self {
        Self::new(Severity::Ok, fact)
    }

    pub fn info(fact: impl Into<String>) -> Self {
        Self::new(Severity::Info, fact)
    }

    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::new(Severity::Unknown, reason)
    }

    pub fn warn(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warn, fact).remedy(remedy)
    }

    pub fn fail(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Fail, fact).remedy(remedy)
    }

    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The same with its facts one by one.
    #[must_use]
    pub fn because(self, evidence: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let evidence = evidence.into_iter().map(Into::into).collect();
        Self { evidence, ..self }
    }
}

/// A check with what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, which stays.
    pub id: &'static str,
    /// What it looks at.
    pub about: &'static str,
    pub severity: Severity,
    /// One fact; of a check that was not made, the reason.
    pub fact: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The check whose failure explains this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<&'static str>,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema: u32,
    /// Name of the network on this host.
    pub network: String,
    /// The first thing that is wrong and follows from nothing else.
    pub likely_cause: Option<&'static str>,
    /// One a check, in the order of the layers.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of what follows from nothing else.
    pub fn worst(&self) -> Severity {
        let own = self.findings.iter().filter(|one| one.follows.is_none());
        own.map(|one| one.severity).max().unwrap_or(Severity::Ok)
    }
}
