//! What differs between Go's plugins and ours, and whether `differences.json` has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::cases::{Release, release};
use super::data;
use super::seen::Facts;

/// A difference that was looked at. In all patterns `*` stands for anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    plugin: String,
    /// Which cases; all where it is absent.
    #[serde(default = "any")]
    case: String,
    /// What is true of ours alone, and of Go's alone.
    ours: Option<String>,
    go: Option<String>,
    /// The first and the last release of Go's that differ so.
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    /// Why it stays so, which the document repeats.
    #[expect(dead_code, reason = "for readers, and for the test of the document")]
    why: String,
}

fn any() -> String {
    "*".to_owned()
}

/// The side that has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Ours,
    Go,
}

impl Known {
    fn is_about(&self, plugin: &str, go: Release) -> bool {
        let from = self.from.as_deref().is_none_or(|from| go >= release(from));
        let to = self.to.as_deref().is_none_or(|to| go <= release(to));
        from && to && (self.plugin == "*" || self.plugin == plugin)
    }

    fn covers(&self, case: &str, side: Side, fact: &str) -> bool {
        let pattern = match side {
            Side::Ours => self.ours.as_deref(),
            Side::Go => self.go.as_deref(),
        };
        matches(&self.case, case) && pattern.is_some_and(|pattern| matches(pattern, fact))
    }
}

/// The differences of a plugin, by side and fact: the cases that have them.
pub(crate) struct Judge {
    plugin: String,
    release: Release,
    known: Vec<Known>,
    used: BTreeSet<usize>,
    unknown: BTreeMap<(Side, String), Vec<String>>,
}

impl Judge {
    /// For a release of Go's plugin; without one there is nothing to differ from.
    pub(crate) fn new(plugin: &str, go: Option<Release>) -> Self {
        let mut known: Vec<Known> = serde_json::from_str(&data("differences.json")).unwrap();
        known.retain(|_| go.is_some());
        let release = go.unwrap_or_default();
        let plugin = plugin.to_owned();
        let (used, unknown) = (BTreeSet::new(), BTreeMap::new());
        Self {
            plugin,
            release,
            known,
            used,
            unknown,
        }
    }

    /// Compares what the two have done with one input. What begins with `!` needs a judgement even if both do it. Where
    /// one alone refuses the input, its refusal is the difference, and what it leaves.
    pub(crate) fn compare(&mut self, case: &str, ours: &Facts, go: &Facts) {
        let refuses = |facts: &Facts| facts.contains("ADD fails");
        let one_refuses = refuses(ours) != refuses(go);
        let both = [(Side::Ours, ours, go), (Side::Go, go, ours)];
        for (side, facts, others) in both {
            for fact in facts {
                let counts = !one_refuses || fact == "ADD fails" || fact.starts_with("left by ADD");
                if counts && (!others.contains(fact) || fact.starts_with('!')) {
                    self.judge(case, side, fact);
                }
            }
        }
    }

    fn judge(&mut self, case: &str, side: Side, fact: &str) {
        let mut is_known = false;
        for (index, known) in self.known.iter().enumerate() {
            if known.is_about(&self.plugin, self.release) && known.covers(case, side, fact) {
                self.used.insert(index);
                is_known = true;
            }
        }
        if !is_known {
            let cases = self.unknown.entry((side, fact.to_owned())).or_default();
            cases.push(case.to_owned());
        }
    }

    /// # Panics
    /// When there are differences that nobody has judged, or judged ones that there are no more.
    pub(crate) fn finish(self) {
        let mut text = String::new();
        for ((side, fact), cases) in &self.unknown {
            text += &format!("{side:?}: {fact}\n        {}\n", cases.join(", "));
        }
        let unused = self.known.iter().enumerate().filter(|(index, known)| {
            let ours = known.plugin == self.plugin;
            ours && known.is_about(&self.plugin, self.release) && !self.used.contains(index)
        });
        for (_, known) in unused {
            let pattern = known.ours.as_ref().or(known.go.as_ref());
            text += &format!(
                "no more: {} {}\n",
                known.case,
                pattern.map_or("", String::as_str)
            );
        }
        assert!(
            text.is_empty(),
            "{}, Go's {:?}:\n{text}",
            self.plugin,
            self.release
        );
    }
}

/// Whether a text is as the pattern says.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|begin| text.strip_prefix(begin)) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = true;
        match (part, rest.find(part)) {
            ("", _) => {}
            (_, Some(at)) => {
                rest = &rest[at + part.len()..];
                is_open = false;
            }
            (_, None) => return false,
        }
    }
    is_open
        || rest.is_empty()
        || pattern
            .rsplit('*')
            .next()
            .is_some_and(|end| pattern.contains('*') && text.ends_with(end))
}

#[test]
fn a_pattern_fits_the_whole_text() {
    for (pattern, text, fits) in [
        ("*", "anything", true),
        ("a*c", "abc", true),
        ("a*c", "abcbc", true),
        ("a*c", "abcd", false),
        ("abc", "abcd", false),
        ("*b*", "abc", true),
        ("b*", "abc", false),
        ("a*b*c", "a c", false),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
}
