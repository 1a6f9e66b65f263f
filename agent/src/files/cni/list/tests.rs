use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::Replace;
use super::*;
use crate::files::cni::conflist::is_flannels;

const NAME: &str = "10-flannel.conflist";
const OLD: &str =
    r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#;
const NEW: &str = r#"{"cniVersion":"1.0.0","cniVersions":["1.0.0","1.1.0"],"name":"cbr0","plugins":[{"type":"tweed"}]}"#;

fn place(dir: &Path, list: &str) -> Placed {
    let mut folder = Folder::open(dir, Replace::Ours).expect("a folder");
    folder.list(NAME, list).expect("placed")
}

fn there(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join(NAME)).expect("a list");
    serde_json::from_str(&text).expect("JSON")
}

fn entries(dir: &Path) -> Vec<String> {
    types(&there(dir).to_string())
}

/// As the installers of istio-cni and linkerd-cni do: read, append, write with other blanks.
fn append(dir: &Path, name: &str) {
    let mut list = there(dir);
    let plugins = list["plugins"].as_array_mut().expect("a list");
    plugins.push(json!({"type": name, "kubernetes": {"cni_bin_dir": "/opt/cni/bin"}}));
    fs::write(dir.join(NAME), format!("{list:#}")).expect("written");
}

#[test]
fn entries_of_others_stay_at_each_look_and_through_upgrades() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    assert_eq!(place(dir, OLD).outcome, Outcome::Installed);
    append(dir, "istio-cni");
    append(dir, "linkerd-cni");
    let before = fs::read_to_string(dir.join(NAME)).expect("a list");
    let look = place(dir, OLD);
    assert_eq!(look.outcome, Outcome::Unchanged);
    assert_eq!(look.appended, ["istio-cni", "linkerd-cni"]);
    let after = fs::read_to_string(dir.join(NAME)).expect("a list");
    assert_eq!(before, after, "not written again");

    let upgrade = place(dir, NEW);
    assert_eq!(upgrade.outcome, Outcome::Installed);
    assert_eq!(entries(dir), ["tweed", "istio-cni", "linkerd-cni"]);
    assert_eq!(there(dir)["cniVersions"], json!(["1.0.0", "1.1.0"]));
    assert_eq!(
        there(dir)["plugins"][1]["kubernetes"]["cni_bin_dir"],
        "/opt/cni/bin"
    );
    assert_eq!(place(dir, NEW).outcome, Outcome::Unchanged);
    assert_eq!(place(dir, OLD).outcome, Outcome::Installed, "and back");
    let back = ["flannel", "portmap", "istio-cni", "linkerd-cni"];
    assert_eq!(entries(dir), back);
}

#[test]
fn an_entry_that_its_owner_takes_out_again_does_not_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    place(dir, OLD);
    append(dir, "istio-cni");
    place(dir, NEW);
    let mut list = there(dir);
    list["plugins"].as_array_mut().expect("a list").pop();
    fs::write(dir.join(NAME), list.to_string()).expect("written");
    assert_eq!(place(dir, NEW).outcome, Outcome::Unchanged);
    assert_eq!(entries(dir), ["tweed"]);
}

#[test]
fn a_list_with_entries_of_others_is_withdrawn_and_comes_back_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    place(dir, NEW);
    append(dir, "istio-cni");
    let withdraw = || {
        let mut folder = Folder::open(dir, Replace::Ours).expect("a folder");
        folder.withdraw(NAME).expect("withdrawn")
    };
    assert!(withdraw());
    assert!(!dir.join(NAME).exists());
    assert!(!withdraw(), "there is none");
    place(dir, NEW);
    assert_eq!(entries(dir), ["tweed", "istio-cni"]);
    let names: Vec<_> = fs::read_dir(dir).expect("listed").collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn an_entry_of_ours_that_somebody_edited_makes_the_list_somebody_elses() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    place(dir, OLD);
    append(dir, "istio-cni");
    let mut list = there(dir);
    list["plugins"][0]["delegate"] = json!({"mtu": 1400});
    fs::write(dir.join(NAME), list.to_string()).expect("written");
    assert_eq!(place(dir, OLD).outcome, Outcome::Kept);
    assert_eq!(there(dir), list);
    // The agent takes flannel's and ours over all the same, and --force all: with what others have appended.
    for replace in [Replace::If(is_flannels), Replace::All] {
        fs::write(dir.join(NAME), list.to_string()).expect("written");
        let mut folder = Folder::open(dir, replace).expect("a folder");
        folder.list(NAME, NEW).expect("placed");
        assert_eq!(entries(dir), ["tweed", "istio-cni"]);
    }
}

#[test]
fn a_record_of_an_earlier_version_is_understood_and_completed() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    place(dir, OLD);
    let record = dir.join(".tweed-installed");
    let text = fs::read_to_string(&record).expect("a record");
    let mut known: Value = serde_json::from_str(&text).expect("JSON");
    let known = known.as_object_mut().expect("a map");
    known.retain(|name, _| name == NAME);
    fs::write(&record, json!(known).to_string()).expect("written");
    assert_eq!(place(dir, OLD).outcome, Outcome::Unchanged);
    append(dir, "istio-cni");
    assert_eq!(place(dir, NEW).outcome, Outcome::Installed);
    assert_eq!(entries(dir), ["tweed", "istio-cni"]);
}

#[test]
fn a_list_that_begins_with_another_plugin_is_placed_once_and_merged_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let given = r#"{"name":"n","plugins":[{"type":"macvlan","master":"eth0"}]}"#;
    assert_eq!(place(dir, given).outcome, Outcome::Installed);
    assert_eq!(place(dir, given).outcome, Outcome::Unchanged);
    append(dir, "istio-cni");
    assert_eq!(place(dir, given).outcome, Outcome::Unchanged);
    place(dir, NEW);
    assert_eq!(entries(dir), ["tweed", "istio-cni"]);
}
