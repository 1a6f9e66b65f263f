//! The versions of the CNI specification, and what each allows.

use std::fmt;

use serde_json::{Value, json};

/// A version of the specification that we speak. They compare by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    /// One address per family, no interfaces. Also what a configuration without `cniVersion` means.
    V0_1_0,
    /// The same, with a version in the result.
    V0_2_0,
    /// Interfaces and lists of addresses.
    V0_3_0,
    /// The same, with chains.
    V0_3_1,
    /// CHECK, and the previous result on DEL.
    V0_4_0,
    /// No address family in results.
    V1_0_0,
    /// GC and STATUS.
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    pub(crate) const NEWEST: Self = Self::V1_1_0;

    /// This version and all newer ones, oldest first.
    pub(crate) const fn and_newer(self) -> &'static [Self] {
        let all: &'static [Self] = &Self::ALL;
        all.split_at(self as usize).1
    }

    /// Reads a `cniVersion`; an empty one means the first.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::V0_1_0);
        }
        Self::ALL.into_iter().find(|version| version.name() == text)
    }

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Versions as Go prints a list of strings: `["0.1.0" "0.2.0" …]`.
    pub(crate) fn list(versions: &[Self]) -> String {
        let names: Vec<String> = versions.iter().map(|v| format!("{:?}", v.name())).collect();
        format!("[{}]", names.join(" "))
    }

    /// The answer to VERSION of a plugin that speaks these.
    pub(crate) fn reply(versions: &[Self]) -> Value {
        let newest = versions.last().unwrap_or(&Self::NEWEST);
        let all: Vec<&str> = versions.iter().map(|version| version.name()).collect();
        json!({"cniVersion": newest.name(), "supportedVersions": all})
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_and_compares_by_age() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.name()), Some(version));
        }
        assert!(Version::ALL.is_sorted());
        assert_eq!(Version::parse(""), Some(Version::V0_1_0));
        assert_eq!(Version::parse("1.2.0"), None);
    }

    #[test]
    fn the_reply_lists_the_versions_that_the_plugin_speaks() {
        assert_eq!(
            Version::reply(&Version::ALL).to_string(),
            r#"{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        );
        assert_eq!(
            Version::reply(Version::V0_4_0.and_newer()).to_string(),
            r#"{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}"#
        );
    }
}
