use std::fs;

use serde_json::json;
use tempfile::TempDir;
use tweed_model::Port;

use super::*;
use crate::record::{file_name, leaving};

fn record(id: &str, bridged: bool) -> Record {
    let bridged = bridged.then(|| Bridged {
        bridge: "cni0".into(),
        ports: vec![Port {
            name: format!("veth{id}"),
            ..Port::default()
        }],
        ..Bridged::default()
    });
    Record {
        network: "cbr0".into(),
        container_id: id.into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged,
        routed: None,
        netns: "/run/netns/x".into(),
    }
}

fn write(folder: &Path, record: &Record) -> PathBuf {
    let path = folder.join(file_name(&record.owner()));
    fs::write(&path, record.render()).unwrap();
    path
}

/// Writes libcni's file of an attachment of Go's `bridge`, with its list in base64.
fn keep(data: &Path, id: &str) {
    let config = "eyJwbHVnaW5zIjpbeyJ0eXBlIjoiYnJpZGdlIn1dfQ==";
    let text = json!({
        "kind": "cniCacheV1", "containerId": id, "config": config, "ifName": "eth0", "networkName": "cbr0",
        "result": {
            "interfaces": [{"name": "cni0"}, {"name": "vethgo"}, {"name": "eth0", "sandbox": "/x"}],
            "ips": [{"address": "10.244.1.5/24"}],
        },
    });
    fs::create_dir_all(data.join("results")).unwrap();
    fs::write(
        data.join("results").join(format!("cbr0-{id}-eth0")),
        text.to_string(),
    )
    .unwrap();
}

fn reader() -> (TempDir, TempDir, Records) {
    let (folder, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let records = Records::new(folder.path(), data.path());
    (folder, data, records)
}

fn ports(records: &mut Records) -> Vec<String> {
    let recorded = records.read();
    let bridged = recorded
        .attachments
        .values()
        .filter_map(|one| one.bridged.as_ref());
    bridged
        .map(|bridged| bridged.ports[0].name.clone())
        .collect()
}

#[test]
fn records_that_come_change_and_go_are_seen_and_those_of_removals_are_none() {
    let (folder, _data, mut records) = reader();
    assert!(records.read().attachments.is_empty());
    let a = write(folder.path(), &record("a", true));
    write(folder.path(), &record("b", true));
    assert_eq!(ports(&mut records), ["vetha", "vethb"]);
    fs::rename(&a, leaving(&a)).unwrap();
    assert_eq!(ports(&mut records), ["vethb"]);
    fs::remove_file(leaving(&a)).unwrap();
    fs::write(folder.path().join("garbage.json"), "{").unwrap();
    assert_eq!(ports(&mut records), ["vethb"]);
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(ports(&mut records).is_empty());
}

#[test]
fn what_others_have_written_or_may_write_is_no_record() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let (folder, data, mut records) = reader();
    let strangers = write(folder.path(), &record("a", true));
    chown(&strangers, Some(12_345), None).unwrap();
    let open = write(folder.path(), &record("b", true));
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    keep(data.path(), "c");
    let kept = data.path().join("results/cbr0-c-eth0");
    chown(&kept, Some(12_345), None).unwrap();
    assert_eq!(ports(&mut records), [""; 0]);
    write(folder.path(), &record("d", true));
    assert_eq!(ports(&mut records), ["vethd"]);
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let (folder, _data, mut records) = reader();
    write(folder.path(), &record("a", true));
    std::thread::sleep(2 * YOUNG);
    let first = records.read();
    assert!(Arc::ptr_eq(&first, &records.read()));
    write(folder.path(), &record("b", true));
    assert!(!Arc::ptr_eq(&first, &records.read()));
}

#[test]
fn what_the_runtime_keeps_counts_where_the_plugin_has_written_no_place() {
    let (folder, data, mut records) = reader();
    keep(data.path(), "a");
    let recorded = records.read();
    let attachment = recorded.attachments.values().next().unwrap();
    let addresses = vec!["10.244.1.5/24".parse().unwrap()];
    assert_eq!(attachment.others, Some(addresses));
    // As an earlier version of the plugin wrote it.
    write(folder.path(), &record("a", false));
    assert_eq!(ports(&mut records), ["vethgo"]);
    write(folder.path(), &record("a", true));
    assert_eq!(ports(&mut records), ["vetha"]);
    let recorded = records.read();
    let attachment = recorded.attachments.values().next().unwrap();
    assert_eq!((&attachment.others, attachment.files.len()), (&None, 1));
}

#[test]
fn folders_that_plugins_have_left_word_of_are_read_or_named() {
    let (folder, _data, mut records) = reader();
    let elsewhere = TempDir::new().unwrap();
    write(elsewhere.path(), &record("a", true));
    let words = folder.path().join(ELSEWHERE);
    fs::create_dir(&words).unwrap();
    let own = Netns::id_of_caller().unwrap();
    let gone = PathBuf::from("/nowhere/at/all");
    for (name, folder, netns) in [
        ("one", elsewhere.path().to_owned(), own),
        ("two", gone.clone(), own),
        ("three", "/another/host".into(), (0, 0)),
    ] {
        let word = FolderPointer { folder, netns };
        fs::write(words.join(name), word.render()).unwrap();
    }
    assert_eq!(ports(&mut records), ["vetha"]);
    let out_of_reach = &records.read().out_of_reach;
    assert_eq!(out_of_reach.keys().collect::<Vec<_>>(), [&gone]);
}
