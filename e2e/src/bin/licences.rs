//! Checks that every dependency that goes into our binaries may be shipped under Apache-2.0.

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
    let mut refused = Vec::new();
    for package in packages {
        let expression = package["license"].as_str().unwrap_or("");
        if !allows(expression) {
            refused.push(format!(
                "{} {}: {expression:?}",
                package["name"], package["version"]
            ));
        }
    }
    if !refused.is_empty() {
        bail!("licences that are not on the list:\n{}", refused.join("\n"));
    }
    println!("licences of {} packages are fine", packages.len());
    Ok(())
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
}
