use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::config::cli::{Cli, Command};
use crate::config::cni_names::{CONF_NAME, LINKS, PLUGIN};

/// A host with empty folders, and a plugin to install.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("plugin"), "plugin, version 1").expect("written");
        Self { dir }
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.dir.path().join("bin").join(name)
    }

    fn conf(&self, name: &str) -> PathBuf {
        self.dir.path().join("net.d").join(name)
    }

    fn args(&self, more: &[&str]) -> InstallCniArgs {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        let words = [
            "tweedd".to_owned(),
            "install-cni".to_owned(),
            format!("--plugin={}", path("plugin")),
            format!("--bin-dir={}", path("bin")),
            format!("--conf-dir={}", path("net.d")),
        ];
        let more = more.iter().map(|word| (*word).to_owned());
        match Cli::try_parse_from(words.into_iter().chain(more))
            .expect("arguments")
            .command
        {
            Some(Command::InstallCni(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn install(&self, more: &[&str]) -> InstallReport {
        self.try_install(more, &[]).expect("installed")
    }

    fn refusal(&self, more: &[&str]) -> String {
        format!("{:#}", self.try_install(more, &[]).expect_err("refused"))
    }

    fn try_install(&self, more: &[&str], env: &[(&str, &Path)]) -> anyhow::Result<InstallReport> {
        let args = self.args(more);
        let environment = |name: &str| {
            let (_, value) = env.iter().find(|(known, _)| *known == name)?;
            Some(value.to_string_lossy().into_owned())
        };
        install(&args, &Settings::new(&args.places.0, &environment))
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

fn outcomes(report: &InstallReport) -> Vec<(String, Outcome)> {
    let name = |file: &Path| {
        file.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    report
        .files
        .iter()
        .map(|placed| (name(&placed.file), placed.outcome))
        .collect()
}

fn all(outcome: Outcome) -> Vec<(String, Outcome)> {
    let names = [PLUGIN].into_iter().chain(LINKS).chain([CONF_NAME]);
    names.map(|name| (name.to_owned(), outcome)).collect()
}

#[test]
fn an_empty_host_gets_plugin_links_and_list_in_that_order() {
    let host = Host::new();
    let report = host.install(&[]);
    assert_eq!(outcomes(&report), all(Outcome::Installed));
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(text(&host.bin("tweed")), "plugin, version 1");
    assert_eq!(
        fs::metadata(host.bin("tweed"))
            .expect("there")
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
    for link in LINKS {
        assert_eq!(
            fs::read_link(host.bin(link)).expect("a link"),
            Path::new("tweed")
        );
    }
    let list: Value = serde_json::from_str(&text(&host.conf("10-flannel.conflist"))).expect("JSON");
    assert_eq!(list["name"], "cbr0");
    // The plugin's link for host ports is there by the time the list is written.
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["plugins"][0]["type"], "flannel");
    assert_eq!(list["plugins"][1]["type"], "portmap");
}

#[test]
fn installing_again_changes_nothing_and_a_newer_version_replaces_ours() {
    let host = Host::new();
    host.install(&[]);
    let inode =
        || std::os::unix::fs::MetadataExt::ino(&fs::metadata(host.bin("tweed")).expect("there"));
    let before = inode();
    assert_eq!(outcomes(&host.install(&[])), all(Outcome::Unchanged));
    assert_eq!(inode(), before);

    fs::write(host.dir.path().join("plugin"), "plugin, version 2").expect("written");
    let report = host.install(&[]);
    assert_eq!(
        outcomes(&report)[0],
        ("tweed".to_owned(), Outcome::Installed)
    );
    assert_eq!(text(&host.bin("tweed")), "plugin, version 2");
}

#[test]
fn the_portmap_plugin_is_in_the_list_exactly_where_there_is_one() {
    let host = Host::new();
    write(&host.bin("portmap"), "somebody's");
    host.install(&[]);
    let list: Value = serde_json::from_str(&text(&host.conf("10-flannel.conflist"))).expect("JSON");
    assert_eq!(list["plugins"][1]["type"], "portmap");
    assert_eq!(list["plugins"][1]["capabilities"]["portMappings"], true);
}

#[test]
fn foreign_files_stay_and_are_reported() {
    let host = Host::new();
    write(&host.bin("bridge"), "Go's bridge");
    write(&host.conf("10-flannel.conflist"), "flannel's list");
    symlink("/usr/lib/cni/loopback", host.bin("loopback")).expect("linked");
    let report = host.install(&[]);
    assert_eq!(text(&host.bin("bridge")), "Go's bridge");
    assert_eq!(text(&host.conf("10-flannel.conflist")), "flannel's list");
    let kept: Vec<String> = outcomes(&report)
        .into_iter()
        .filter(|(_, outcome)| *outcome == Outcome::Kept)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(kept, ["bridge", "loopback", "10-flannel.conflist"]);
    assert_eq!(report.warnings.len(), 3);
    assert!(
        report.warnings[0].contains("bridge is somebody else's"),
        "{:?}",
        report.warnings
    );

    let report = host.install(&["--force"]);
    assert!(
        report
            .files
            .iter()
            .all(|placed| placed.outcome != Outcome::Kept)
    );
    assert_eq!(
        fs::read_link(host.bin("bridge")).expect("a link"),
        Path::new("tweed")
    );
    assert!(text(&host.conf("10-flannel.conflist")).contains("cbr0"));
}

#[test]
fn a_list_of_flannels_stays_and_is_in_use() {
    let host = Host::new();
    let flannels = r#"{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;
    write(&host.conf("10-flannel.conflist"), flannels);
    let report = host.install(&[]);
    assert_eq!(text(&host.conf("10-flannel.conflist")), flannels);
    assert!(!report.list_not_in_use, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("is flannel's and stays"));
    for others in ["{}", r#"{"name": "x", "plugins": [{"type": "bridge"}]}"#] {
        write(&host.conf("10-flannel.conflist"), others);
        assert!(host.install(&[]).list_not_in_use, "{others}");
    }
}

#[test]
fn the_place_of_the_plugin_itself_must_be_free_or_ours() {
    let host = Host::new();
    write(&host.bin("tweed"), "something else of that name");
    assert!(
        host.refusal(&[]).contains("replace it with --force"),
        "{}",
        host.refusal(&[])
    );
    assert_eq!(text(&host.bin("tweed")), "something else of that name");
    assert!(!host.conf("10-flannel.conflist").exists());
    host.install(&["--force"]);
    assert_eq!(text(&host.bin("tweed")), "plugin, version 1");
}

#[test]
fn a_file_of_ours_that_somebody_edited_is_somebody_elses() {
    let host = Host::new();
    host.install(&[]);
    write(&host.conf("10-flannel.conflist"), "edited");
    let report = host.install(&[]);
    assert_eq!(
        outcomes(&report).last().map(|last| last.1),
        Some(Outcome::Kept)
    );
    assert_eq!(text(&host.conf("10-flannel.conflist")), "edited");
}

#[test]
fn a_list_that_sorts_before_ours_is_warned_about() {
    let host = Host::new();
    for name in [
        "05-cilium.conflist",
        "00-old.conf",
        "10-a.json",
        "20-later.conflist",
        "01-notes.txt",
    ] {
        write(&host.conf(name), "{}");
    }
    let warnings = host.install(&[]).warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, name) in warnings
        .iter()
        .zip(["00-old.conf", "05-cilium.conflist", "10-a.json"])
    {
        assert!(
            warning.contains(name) && warning.contains("sorts before"),
            "{warning}"
        );
    }
}

#[test]
fn a_given_list_is_checked_before_anything_is_written() {
    let host = Host::new();
    let file = host.dir.path().join("given");
    let given = format!("--conf={}", file.display());
    for (content, reason) in [
        ("{", "no network configuration list"),
        ("{}", "it has no name"),
        (r#"{"name":"x"}"#, "it has no plugins"),
        (r#"{"name":"x","plugins":[]}"#, "it has no plugins"),
        (r#"{"name":"x","plugins":[{}]}"#, "plugin 0 has no type"),
        (
            r#"{"name":"x","cniVersion":"2.0.0","plugins":[{"type":"flannel"}]}"#,
            "cniVersion \"2.0.0\" is none that runtimes and plugins speak (0.1.0, ",
        ),
        (
            r#"{"name":"x","cniVersion":1,"plugins":[{"type":"flannel"}]}"#,
            "cniVersion is 1, want a text",
        ),
        (
            r#"{"name":"x","cniVersions":"1.0.0","plugins":[{"type":"flannel"}]}"#,
            "cniVersions is \"1.0.0\", want a list",
        ),
    ] {
        write(&file, content);
        let refusal = host.refusal(&[&given]);
        assert!(refusal.contains(reason), "{refusal}");
        assert!(!host.bin("tweed").exists());
    }
    let good = r#"{"name":"x","cniVersions":["1.1.0","2.0.0"],"plugins":[{"type":"flannel"}]}"#;
    write(&file, good);
    host.install(&[&given, "--conf-name=10-x.conflist"]);
    assert_eq!(text(&host.conf("10-x.conflist")), good);
}

#[test]
fn the_list_may_be_left_to_others() {
    let host = Host::new();
    let report = host.install(&["--skip-conf", "--links=flannel"]);
    assert_eq!(report.files.len(), 2);
    assert!(!host.conf("10-flannel.conflist").exists());
}

#[test]
fn nothing_temporary_is_left_and_runtimes_see_one_list() {
    let host = Host::new();
    host.install(&[]);
    let names = |dir: &str| {
        let entries = fs::read_dir(host.dir.path().join(dir)).expect("readable");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("net.d"), [".tweed-installed", "10-flannel.conflist"]);
    let mut placed: Vec<&str> = [".tweed-installed", PLUGIN]
        .into_iter()
        .chain(LINKS)
        .collect();
    placed.sort_unstable();
    assert_eq!(names("bin"), placed);
}

mod usage;
