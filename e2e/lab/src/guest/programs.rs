//! The test programs that run in the guest, and which tests of each: those that are marked for it, wherever they stand,
//! and some that run on every host too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How a test says that only the guest can run it.
const MARK: &str = "#[ignore = \"";

/// Folders of packages, and of folders of packages. Scenarios need servers that the guest doesn't have.
const PLACES: &[&str] = &["agent", "cni-plugin", "overlay"];

/// Tests of what differs between kernels, by package, program and beginning of the name. Most hosts that build Tweed
/// have a newer kernel than Debian's.
const BOTH: &[(&str, &str, &[&str])] = &[
    (
        "overlay/kernel",
        "kernel",
        &["apply::", "netlink::", "nexthops::", "observe::", "tun::"],
    ),
    (
        "overlay/kernel",
        "firewall",
        &[
            "attachment::a_",
            "attachment::an_",
            "bridged::",
            "drift::",
            "sources::",
        ],
    ),
    (
        "cni-plugin",
        "plugins",
        &["plugins::bridge_masquerade::", "plugins::source::"],
    ),
];

/// A test program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Package and target.
    pub(super) label: String,
    pub(super) path: PathBuf,
    /// Folder of the package, in which its tests run.
    pub(super) folder: PathBuf,
    /// Names of the tests to run.
    pub(super) tests: Vec<String>,
}

/// What was built.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) programs: Vec<Program>,
    /// Programs that tests start.
    pub(super) binaries: Vec<PathBuf>,
}

/// A target of a package, as cargo names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    package: String,
    /// `lib`, `bin` or `test`.
    kind: &'static str,
    name: String,
}

/// Builds the programs with tests whose names contain one of the words.
///
/// # Errors
/// When they don't build, or have other marked tests than their sources say.
pub(super) fn build(root: &Path, words: &[String]) -> Result<Build> {
    let root = root.canonicalize()?;
    let marked = marked(&root)?;
    let mut targets: BTreeSet<Target> = marked.keys().cloned().collect();
    targets.extend(BOTH.iter().map(|(package, name, _)| Target {
        package: (*package).to_owned(),
        kind: "test",
        name: (*name).to_owned(),
    }));
    let artifacts = cargo(&root, &targets)?;
    let mut programs = Vec::new();
    for target in targets {
        let path = find(&artifacts, &root, &target)?;
        let folder = root.join(&target.package);
        let only_here = list(&path, &folder, true)?;
        let expected = marked.get(&target).copied().unwrap_or(0);
        ensure!(
            only_here.len() == expected,
            "{}: the sources of {} mark {expected} tests for the guest, the program has {}: {only_here:?}",
            target.package,
            target.name,
            only_here.len()
        );
        let here_too = BOTH.iter().filter(|(package, name, _)| {
            target.kind == "test" && (*package, *name) == (&target.package, &target.name)
        });
        let beginnings: Vec<&str> = here_too.flat_map(|(_, _, names)| *names).copied().collect();
        let mut tests = list(&path, &folder, false)?;
        for begin in &beginnings {
            let any = tests.iter().any(|test| test.starts_with(begin));
            ensure!(any, "{} has no test {begin}…", target.name);
        }
        tests.retain(|test| {
            only_here.contains(test) || beginnings.iter().any(|begin| test.starts_with(begin))
        });
        tests.retain(|test| words.is_empty() || words.iter().any(|word| test.contains(word)));
        if !tests.is_empty() {
            let label = format!("{}/{}", target.package, target.name);
            programs.push(Program {
                label,
                path,
                folder,
                tests,
            });
        }
    }
    let binaries = artifacts
        .iter()
        .filter(|artifact| artifact["profile"]["test"] == false);
    let binaries = binaries.filter_map(|artifact| artifact["executable"].as_str());
    let binaries = binaries.map(PathBuf::from).collect();
    Ok(Build { programs, binaries })
}

/// The targets with marked tests, and how many.
fn marked(root: &Path) -> Result<BTreeMap<Target, usize>> {
    let mut found = BTreeMap::new();
    for place in PLACES {
        let mut packages = vec![(*place).to_owned()];
        for entry in fs::read_dir(root.join(place))? {
            packages.push(format!("{place}/{}", entry?.file_name().to_string_lossy()));
        }
        packages.retain(|package| root.join(package).join("Cargo.toml").is_file());
        for package in packages {
            for part in ["src", "tests"] {
                let folder = root.join(&package).join(part);
                for (stem, count) in marks(&folder)? {
                    let target = target_of(root, &package, part, stem)?;
                    *found.entry(target).or_default() += count;
                }
            }
        }
    }
    Ok(found)
}

/// The marks below a folder, by the folder's entry that they stand in.
fn marks(folder: &Path) -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(found);
    };
    for entry in entries {
        let path = entry?.path();
        let mut count = 0;
        if path.is_dir() {
            count = marks(&path)?.values().sum();
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path)?;
            count = text
                .lines()
                .filter(|line| line.trim_start().starts_with(MARK))
                .count();
        }
        if count > 0 {
            let stem = path.file_stem().unwrap_or_default();
            *found
                .entry(stem.to_string_lossy().into_owned())
                .or_default() += count;
        }
    }
    Ok(found)
}

fn target_of(root: &Path, package: &str, part: &str, stem: String) -> Result<Target> {
    let folder = root.join(package);
    let (kind, name) = match part {
        "tests" => ("test", stem),
        _ if folder.join("src/lib.rs").is_file() => ("lib", "lib".to_owned()),
        _ => ("bin", name_of_binary(&folder)?),
    };
    let package = package.to_owned();
    Ok(Target {
        package,
        kind,
        name,
    })
}

fn name_of_binary(folder: &Path) -> Result<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    let name = manifest
        .split_once("[[bin]]")
        .and_then(|(_, bin)| bin.split('"').nth(1));
    name.map(str::to_owned)
        .with_context(|| format!("{} names no binary", folder.display()))
}

/// Has cargo build the targets' tests, and returns what it says of each artifact. Packages and features are those with
/// which `.ci/test` builds all other tests, so that after those nothing is left to build.
fn cargo(root: &Path, targets: &BTreeSet<Target>) -> Result<Vec<Value>> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command.args([
        "test",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(["--workspace", "--exclude", "tweed-e2e", "--all-features"]);
    let mut flags: Vec<String> = targets
        .iter()
        .flat_map(|target| match target.kind {
            "lib" => vec!["--lib".to_owned()],
            kind => vec![format!("--{kind}={}", target.name)],
        })
        .collect();
    flags.sort();
    flags.dedup();
    let output = command.args(flags).stderr(Stdio::inherit()).output();
    let output = output.context("run cargo")?;
    ensure!(
        output.status.success(),
        "the tests for the guest don't build"
    );
    let text = String::from_utf8(output.stdout).context("cargo prints UTF-8")?;
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter(|message| message["executable"].is_string())
        .collect())
}

fn find(artifacts: &[Value], root: &Path, target: &Target) -> Result<PathBuf> {
    let manifest = root.join(&target.package).join("Cargo.toml");
    let fits = |artifact: &&Value| {
        let kinds = artifact["target"]["kind"].as_array();
        artifact["profile"]["test"] == true
            && artifact["manifest_path"].as_str() == manifest.to_str()
            && kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == target.kind))
            && (target.kind == "lib" || artifact["target"]["name"] == target.name.as_str())
    };
    let found = artifacts.iter().find(fits);
    let path = found.and_then(|artifact| artifact["executable"].as_str());
    path.map(PathBuf::from)
        .with_context(|| format!("cargo built no tests of {target:?}"))
}

/// The names of a program's tests; all, or those that are ignored.
fn list(path: &Path, folder: &Path, ignored: bool) -> Result<Vec<String>> {
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .args(["--list", "--format", "terse"]);
    if ignored {
        command.arg("--ignored");
    }
    let output = command
        .output()
        .with_context(|| format!("run {}", path.display()))?;
    ensure!(
        output.status.success(),
        "{} can't list its tests",
        path.display()
    );
    let text = String::from_utf8(output.stdout).context("tests have names in UTF-8")?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_belongs_to_a_target_that_cargo_knows() {
        let root = crate::document::root();
        let marked = marked(&root).unwrap();
        let vlans = Target {
            package: "cni-plugin".to_owned(),
            kind: "test",
            name: "plugins".to_owned(),
        };
        assert!(marked.contains_key(&vlans), "{marked:?}");
        assert_eq!(name_of_binary(&root.join("cni-plugin")).unwrap(), "tweed");
    }
}
