//! The blocks of the documents: what a reader copies, for a test to run as it stands.
//!
//! The line above a block says which test runs it (`<!-- run by: name -->`), or why none does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::namespace::Place;

/// A block of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The document, as a path of the tree.
    pub document: String,
    /// What stands in it, a final line break included.
    pub text: String,
}

/// The tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A document.
///
/// # Errors
/// When it cannot be read.
pub fn read(document: &str) -> Result<String> {
    let path = root().join(document);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The blocks of a document that this test is to run, in their order.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn blocks(document: &str, test: &str) -> Result<Vec<Block>> {
    let text = read(document)?;
    let marker = format!("<!-- run by: {test} -->");
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim() != marker {
            continue;
        }
        let fence = lines.next().context("a marker at the end")?;
        ensure!(
            fence.trim_start().starts_with("```"),
            "{document}: {fence:?} is no block, though marked"
        );
        let indent = fence.len() - fence.trim_start().len();
        let inside = lines
            .by_ref()
            .take_while(|line| !line.trim_start().starts_with("```"));
        let text: String = inside
            .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
            .collect();
        found.push(Block {
            document: document.to_owned(),
            text,
        });
    }
    ensure!(!found.is_empty(), "{document} has no block for {test}");
    Ok(found)
}

/// The blocks of all documents that this test is to run.
///
/// # Errors
/// When there is none.
pub fn everywhere(test: &str) -> Result<Vec<Block>> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    names.sort();
    let found: Vec<Block> = names
        .iter()
        .filter_map(|name| blocks(name, test).ok())
        .flatten()
        .collect();
    ensure!(!found.is_empty(), "no document has a block for {test}");
    Ok(found)
}

/// A block that its document has only one of, by words in it.
///
/// # Errors
/// When there is none, or there are several.
pub fn with<'a>(blocks: &'a [Block], words: &str) -> Result<&'a Block> {
    let mut found = blocks.iter().filter(|block| block.text.contains(words));
    let block = found.next();
    ensure!(found.next().is_none(), "two blocks have {words:?}");
    block.with_context(|| format!("no block has {words:?} in {blocks:#?}"))
}

impl Block {
    /// Runs the block in a folder, as a shell does that stops at the first command that fails; gives what it printed.
    ///
    /// # Errors
    /// When a command fails.
    pub fn run(&self, place: Place<'_>, folder: &Path) -> Result<String> {
        let mut command = Command::new("bash");
        let script = format!("cd {}\n{}", folder.display(), self.text);
        command.args(["-euo", "pipefail", "-c", &script]);
        place
            .cmd_with(&mut command, "")
            .with_context(|| format!("a block of {}:\n{}", self.document, self.text))
    }
}
