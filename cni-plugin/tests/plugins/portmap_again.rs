//! `portmap`: ADD for an attachment that has host ports already.

use std::fs;

use serde_json::json;

use super::lab::{on_host, sh};
use super::traffic::{attached, mapping};

#[test]
fn del_removes_what_an_add_that_was_killed_before_it_took_fewer_ports_has_left() {
    on_host(|host| {
        let both = json!([mapping("tcp", "", 8080, 80), mapping("tcp", "", 9000, 90)]);
        let pod = attached(host, &both);
        pod.call.add();
        let folder = host.path("run");
        let records = || {
            let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
            let names = names.map(|entry| entry.file_name().into_string().unwrap());
            let mut records: Vec<String> =
                names.filter(|name| name.contains(".ports.json")).collect();
            records.sort();
            records
        };
        let [record] = &records()[..] else {
            panic!("{:?}", records());
        };
        let file = folder.join(record);
        let of_both = fs::read_to_string(&file).unwrap();
        let one = json!([mapping("tcp", "", 8080, 80)]);
        let fewer = pod.call.set("runtimeConfig", json!({"portMappings": one}));
        fewer.add();
        assert_eq!(
            records(),
            std::slice::from_ref(record),
            "of the second ADD alone"
        );
        let of_one = fs::read_to_string(&file).unwrap();
        // As it is in between: the ports of the first, the record of the second.
        pod.call.add();
        fs::write(&file, of_one).unwrap();
        fs::write(folder.join(format!("{record}.leaving")), of_both).unwrap();
        fewer.ok("DEL");
        let table = sh("nft list table inet tweed-cni");
        assert!(!table.contains("comment \"net/"), "{table}");
        assert!(records().is_empty(), "{:?}", records());
    });
}
