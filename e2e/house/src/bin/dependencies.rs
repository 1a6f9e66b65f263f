//! Checks that every dependency may be shipped under Apache-2.0, and that no further crate is there in two versions.
//! Nothing is asked of the network: what is known of vulnerabilities is read by `cargo deny`, see docs/CONTRIBUTING.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Licences that are compatible with Apache-2.0. A new one is added after reading it.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

/// Crates in more than one version, because our dependencies differ in what they want. One that is not here is a choice
/// of ours to look at.
const TWICE: [&str; 10] = [
    "base64",
    "cpufeatures",
    "derive_more",
    "foldhash",
    "getrandom",
    "hashbrown",
    "r-efi",
    "rand_core",
    "syn",
    "windows-sys",
];

fn main() -> Result<()> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let mut wrong = refused(packages);
    wrong.extend(repeated(packages, &TWICE));
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!(
        "licences and versions of {} packages are fine",
        packages.len()
    );
    Ok(())
}

/// A line for each package whose licence is not on the list.
fn refused(packages: &[Value]) -> Vec<String> {
    let judged = packages.iter().map(|package| {
        let expression = package["license"].as_str().unwrap_or("");
        let (name, version) = (&package["name"], &package["version"]);
        (!allows(expression))
            .then(|| format!("{name} {version}: licence {expression:?} is not on the list"))
    });
    judged.flatten().collect()
}

/// A line for each name whose versions are not as the list says.
fn repeated(packages: &[Value], known: &[&str]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        if let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str())
        {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let added = versions
        .iter()
        .filter(|(name, _)| !known.contains(name))
        .map(|(name, versions)| {
            format!("{name}: versions {versions:?}; bring them to one, or list it")
        });
    let gone = known
        .iter()
        .filter(|name| !versions.contains_key(*name))
        .map(|name| format!("{name}: listed with several versions, which it no longer has"));
    added.chain(gone).collect()
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is cargo's old spelling of OR.
fn allows(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    split(&expression, " OR ").iter().any(|choice| {
        let terms = split(choice, " AND ");
        terms.iter().all(|term| match inner(term) {
            Some(nested) => allows(nested),
            None => ALLOWED.contains(&term.trim()),
        })
    })
}

/// Splits outside parentheses.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start, mut index) = (Vec::new(), 0_i32, 0, 0);
    while index < text.len() {
        match text.as_bytes()[index] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && text[index..].starts_with(separator) {
            parts.push(&text[start..index]);
            index += separator.len();
            start = index;
        } else {
            index += 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn inner(term: &str) -> Option<&str> {
    term.trim().strip_prefix('(')?.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_allowed_choice_is_enough_and_every_joint_licence_is_needed() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-2.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(allows(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0)"] {
            assert!(!allows(bad), "{bad}");
        }
    }

    #[test]
    fn a_crate_in_two_versions_is_told_unless_it_is_listed_and_a_listed_one_must_be_there() {
        let package = |name: &str, version: &str| json!({"name": name, "version": version});
        let packages = [
            package("a", "1.0.0"),
            package("b", "1.0.0"),
            package("b", "2.0.0"),
        ];
        assert!(repeated(&packages, &["b"]).is_empty());
        let told = repeated(&packages, &["a"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("b: ") && told[1].starts_with("a: "));
    }

    #[test]
    fn a_licence_that_is_not_listed_is_told_with_its_package() {
        let packages = [
            json!({"name": "a", "version": "1.0.0", "license": "MIT"}),
            json!({"name": "b", "version": "1.0.0", "license": "GPL-3.0"}),
            json!({"name": "c", "version": "1.0.0"}),
        ];
        let told = refused(&packages);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains('b') && told[1].contains('c'));
    }
}
