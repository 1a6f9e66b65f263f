//! The table of all kinds of events.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A kind of event. Its word stays from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    AgentStarted,
    AgentStopped,
    Ready,
    NotReady,
    LeaseHeld,
    LeaseLost,
    LeaseTaken,
    SubnetChanged,
    SessionEnded,
    StoreAway,
    StoreBack,
    PeerJoined,
    PeerLeft,
    PeerChanged,
    PeerSilent,
    PeerImpaired,
    PeerAnswers,
    LeaseRefused,
    EntryIgnored,
    Repair,
    Fight,
    ChangeRefused,
    DeletionsHeld,
    DeletionsOver,
    DeletionsConfirmed,
    UplinkGone,
    UplinkChanged,
    MtuChanged,
    Hindrance,
    HindranceOver,
    /// One of a later version, in its file.
    #[serde(other)]
    #[value(skip)]
    Other,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// An operator may want to know it.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to do something.
    Error,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kind's word, as in JSON, in the log's field `kind`, and after `--kind`.
    pub word: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// The reason of the Event of Kubernetes that is made of it; none of those of which a cluster would have thousands.
    pub reason: Option<&'static str>,
}

impl Kind {
    /// What holds for all events of this kind.
    pub fn row(self) -> Row {
        use Weight::{Error, Info, Warning};
        let row = |word, weight, reason| Row {
            word,
            weight,
            reason,
        };
        match self {
            Self::AgentStarted => row("agent-started", Info, None),
            Self::AgentStopped => row("agent-stopped", Info, None),
            Self::Ready => row("ready", Info, Some("NetworkReady")),
            Self::NotReady => row("not-ready", Warning, Some("NetworkNotReady")),
            Self::LeaseHeld => row("lease-held", Info, None),
            Self::LeaseLost => row("lease-lost", Warning, Some("LeaseLost")),
            Self::LeaseTaken => row("lease-taken", Error, Some("LeaseTaken")),
            Self::SubnetChanged => row("subnet-changed", Warning, Some("SubnetChanged")),
            Self::SessionEnded => row("session-ended", Warning, Some("SessionEnded")),
            Self::StoreAway => row("store-away", Warning, None),
            Self::StoreBack => row("store-back", Info, None),
            Self::PeerJoined => row("peer-joined", Info, None),
            Self::PeerLeft => row("peer-left", Info, None),
            Self::PeerChanged => row("peer-changed", Info, None),
            // Events of Kubernetes about these come from what lasts.
            Self::PeerSilent => row("peer-silent", Warning, None),
            Self::PeerImpaired => row("peer-impaired", Warning, None),
            Self::PeerAnswers => row("peer-answers", Info, None),
            Self::LeaseRefused => row("lease-refused", Warning, None),
            Self::EntryIgnored => row("entry-ignored", Warning, None),
            Self::Repair => row("repair", Info, Some("NetworkRepaired")),
            Self::Fight => row("fight", Warning, Some("NetworkFight")),
            Self::ChangeRefused => row("change-refused", Warning, Some("ChangeRefused")),
            Self::DeletionsHeld => row("deletions-held", Warning, Some("DeletionsHeld")),
            Self::DeletionsOver => row("deletions-over", Info, Some("DeletionsOver")),
            Self::DeletionsConfirmed => row("deletions-confirmed", Info, None),
            Self::UplinkGone => row("uplink-gone", Warning, Some("UplinkGone")),
            Self::UplinkChanged => row("uplink-changed", Info, Some("UplinkChanged")),
            Self::MtuChanged => row("mtu-changed", Warning, Some("MTUChanged")),
            Self::Hindrance => row("hindrance", Warning, None),
            Self::HindranceOver => row("hindrance-over", Info, None),
            Self::Other => row("other", Info, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_one_word_everywhere_and_reasons_are_names() {
        let mut words = BTreeSet::new();
        for kind in Kind::value_variants() {
            let row = kind.row();
            let json = serde_json::to_string(kind).expect("a word");
            assert_eq!(json, format!("\"{}\"", row.word));
            let value = kind.to_possible_value().expect("it can be asked for");
            assert_eq!(value.get_name(), row.word);
            assert!(words.insert(row.word), "{} twice", row.word);
            let is_name = |reason: &str| reason.chars().all(char::is_alphanumeric);
            assert!(row.reason.is_none_or(is_name), "{row:?}");
        }
        assert_eq!(words.len(), 30);
    }

    #[test]
    fn the_reference_lists_exactly_the_kinds_there_are_with_their_reasons() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
        let text = std::fs::read_to_string(path).expect("the reference");
        let table = text.split("| Kind | An event when |").nth(1);
        let rows = table.into_iter().flat_map(|table| table.lines().skip(2));
        let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
        let quoted = |cell: Option<&str>| -> Vec<String> {
            let cell = cell.unwrap_or_default();
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(str::to_owned).collect()
        };
        let mut listed = Vec::new();
        for row in rows {
            let words = quoted(row.split('|').nth(1));
            let reasons = quoted(row.split('|').nth(3).filter(|cell| !cell.contains("by ")));
            for (at, word) in words.into_iter().enumerate() {
                listed.push((word, reasons.get(at).cloned()));
            }
        }
        let kinds = Kind::value_variants().iter().map(|kind| kind.row());
        let mut kinds: Vec<_> = kinds
            .map(|row| (row.word.to_owned(), row.reason.map(str::to_owned)))
            .collect();
        kinds.sort();
        listed.sort();
        assert_eq!(listed, kinds);
    }

    #[test]
    fn a_kind_of_a_later_version_is_read() {
        let kind: Kind = serde_json::from_str("\"moon-rose\"").expect("read");
        assert_eq!(kind, Kind::Other);
    }
}
