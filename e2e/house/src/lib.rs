//! Tests of the sources and the documents themselves, and what they share: see `tests`.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub fn root() -> PathBuf {
    // As Cargo says it now: what was built in another copy of the project has that one's path in it.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    package.join("../..")
}

/// All Rust files in a folder and below; none where it isn't there.
///
/// # Panics
/// When a folder can't be read.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if !folder.exists() {
        return files;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The folders of all packages, by their `Cargo.toml`, relative to [`root`].
///
/// # Panics
/// When a folder can't be read.
pub fn packages() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "overlay", "agent", "e2e"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.join("Cargo.toml").exists() {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// The page of each crate: `README.md` in its folder. Parts of `e2e` may do without one of their own.
///
/// # Panics
/// When a folder can't be read.
pub fn pages() -> Vec<PathBuf> {
    let page = |package: &String| root().join(package).join("README.md");
    let is_part = |package: &String| package.starts_with("e2e/") && !page(package).exists();
    let packages = packages();
    let whole = packages.iter().filter(|package| !is_part(package));
    whole.map(page).collect()
}

/// All documents: the README, the folder `docs`, the pages.
///
/// # Panics
/// When a folder can't be read.
pub fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found.sort();
    found.extend(pages());
    found
}
