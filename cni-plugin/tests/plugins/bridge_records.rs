//! `bridge` and what it writes down of an attachment, from which the agent puts it back.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::lab::{Host, Pod, on_host};

fn files(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.path("run")).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn record(host: &Host) -> Value {
    let files = files(host);
    assert_eq!(files.len(), 1, "{files:?}");
    serde_json::from_str(&fs::read_to_string(&files[0]).unwrap()).unwrap()
}

#[test]
fn an_attachments_place_in_the_bridge_is_written_down_and_goes_with_it() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.0.0", &["10.1.2.0/24", "2001:db8::/64"]);
        let call = host.call("bridge", conf, &pod);
        let call = call.set("hairpinMode", true).set("mtu", 1400);
        let result = call.add();
        let record = record(host);
        assert_eq!(record["masquerade"], json!([]));
        let bridged = &record["bridged"];
        assert_eq!(bridged["bridge"], "cni0");
        assert_eq!(bridged["mtu"], 1400);
        assert_eq!(bridged["mac"], result["interfaces"][0]["mac"]);
        assert_eq!(
            bridged["gateways"],
            json!(["10.1.2.1/24", "2001:db8::1/64"])
        );
        let port = json!([{"name": result["interfaces"][1]["name"], "hairpin": true}]);
        assert_eq!(bridged["ports"], port);
        assert!(record["netns"].as_str().unwrap().contains(pod.name()));
        call.ok("DEL");
        assert!(files(host).is_empty());
    });
}

#[test]
fn a_removal_that_was_cut_off_is_finished_by_the_next_and_leaves_no_rules() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("bridge", host.bridge_conf("1.0.0", &["10.1.2.0/24"]), &pod);
        let masqueraded = call.set("ipMasq", true);
        masqueraded.add();
        let record = files(host).remove(0);
        let mut leaving = record.clone().into_os_string();
        leaving.push(".leaving");
        fs::rename(&record, &leaving).unwrap();
        // Masquerading isn't configured any more: the record alone tells of it.
        call.ok("DEL");
        assert!(files(host).is_empty());
        let table = super::lab::sh("nft list table inet tweed-cni");
        assert!(!table.contains("10.1.2.2"), "{table}");
    });
}

#[test]
fn an_attachment_whose_record_cant_be_written_works_all_the_same_unless_it_is_masqueraded() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.0.0", &["10.1.2.0/24"]);
        let call = host
            .call("bridge", conf, &pod)
            .set("stateDir", "/proc/none");
        let masqueraded = call.set("ipMasq", true);
        assert!(masqueraded.fails("ADD").1.contains("write "));
        call.add();
        assert!(pod.reaches("10.1.2.1"));
        call.ok("DEL");
    });
}
