//! What `make build` compiles into the programs as their version.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn version(tree: &Path, commit: Option<&str>) -> String {
    let mut command = Command::new(tree.join(".ci/version"));
    command.env_remove("TWEED_COMMIT");
    command.env("GIT_CEILING_DIRECTORIES", tree.parent().expect("a folder"));
    command.envs(commit.map(|commit| ("TWEED_COMMIT", commit)));
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_version_names_the_commit_where_there_is_one() {
    let release = env!("CARGO_PKG_VERSION");
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join(".ci")).expect("made");
    for file in ["Cargo.toml", ".ci/version"] {
        fs::copy(Path::new(ROOT).join(file), tree.join(file)).expect("copied");
    }
    assert_eq!(version(&tree, None), release, "sources without git");
    assert_eq!(version(&tree, Some("abc")), format!("{release}+abc"));

    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let mut command = Command::new("git");
        command.arg("-C").arg(&tree).args(identity).args(words);
        assert!(command.status().expect("git runs").success(), "{words:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=first"]);
    let clean = version(&tree, None);
    let commit = clean
        .strip_prefix(&format!("{release}+"))
        .expect("a commit");
    assert!(commit.len() >= 9 && commit.chars().all(|c| c.is_ascii_hexdigit()));
    fs::write(
        tree.join("Cargo.toml"),
        fs::read_to_string(tree.join("Cargo.toml")).expect("read") + "\n",
    )
    .expect("written");
    assert_eq!(version(&tree, None), format!("{clean}.changed"));
}
