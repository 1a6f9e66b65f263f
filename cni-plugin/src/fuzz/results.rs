//! Results of other plugins, and what runtimes keep of them.

use serde_json::Value;
use tweed_attach::record::{FolderPointer, PortRecord, Record};
use tweed_attach::{Owner, libcni};
use tweed_fuzz::fuzz;

use super::samples::{RESULTS, damaged};
use crate::spec::{Version, json, wire};

/// A file of libcni's cache, with its configuration in base64.
const CACHED: [&str; 2] = [
    r#"{"kind":"cniCacheV1","containerId":"abc","config":"eyJuYW1lIjoiY2JyMCIsInBsdWdpbnMiOlt7InR5cGUiOiJicmlkZ2UiLCJicmlkZ2UiOiJjbmkwIiwiaXNHYXRld2F5Ijp0cnVlLCJtdHUiOjE0NTAsImhhaXJwaW5Nb2RlIjp0cnVlfV19","ifName":"eth0","networkName":"cbr0","netns":"/run/netns/x","result":{"interfaces":[{"name":"cni0","mac":"02:00:00:00:00:01"},{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.244.1.5/24","gateway":"10.244.1.1"}]}}"#,
    r#"{"kind":"cniCacheV1","containerId":"abc","config":"eyJuYW1lIjoiY2JyMCIsInBsdWdpbnMiOlt7InR5cGUiOiJmbGFubmVsIiwiZGVsZWdhdGUiOnsiaGFpcnBpbk1vZGUiOnRydWV9fV19","ifName":"eth0","networkName":"cbr0","result":{"interfaces":[{"name":"cni0"},{"name":"veth1"}],"ips":[{"address":"fd00::5/64"}]}}"#,
];
const RECORDS: [&str; 2] = [
    r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","masquerade":["10.1.2.3/24"]}"#,
    r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","masquerade":[],"bridged":{"bridge":"cni0","mac":"02:00:00:00:00:01","mtu":1450,"gateways":["10.1.2.1/24"],"holder":"vlan7","ports":[{"name":"veth1","hairpin":true,"vlans":[{"vid":7,"native":true}]}]},"netns":"/run/netns/a"}"#,
];
const PORTS: [&str; 1] = [
    r#"{"network":"cbr0","containerID":"abc","ifname":"eth0","netns":"/run/netns/a","hostPorts":{"addresses":["10.1.2.3/24"],"ports":[{"protocol":"tcp","hostAddr":"192.0.2.1","hostPort":8080,"containerPort":80}],"masquerade":"needed"}}"#,
];
const POINTERS: [&str; 1] = [r#"{"folder":"/run/other","netns":[4,4026531840]}"#];
const OWNERS: [&str; 2] = ["cbr0/abc/eth0", "a-long~0123456789abcdef/b/c"];

#[test]
fn a_result_is_read_or_refused_and_written_as_it_was_read() {
    fuzz("CNI result", 20, |source| {
        let text = damaged(source, &RESULTS);
        let Ok(value) = json::parse(text.as_bytes()) else {
            return false;
        };
        let versions = Version::V0_1_0.and_newer();
        let Ok(result) = wire::read(&value, source.pick(versions)) else {
            return false;
        };
        let newest = wire::render(&result, Version::NEWEST).unwrap();
        assert_eq!(wire::read(&newest, Version::NEWEST).unwrap(), result);
        for version in versions {
            if let Ok(written) = wire::render(&result, *version) {
                let read = wire::read(&written, *version).unwrap();
                let again = wire::render(&read, *version).unwrap();
                assert_eq!(again, written, "{version}: {text}");
            }
        }
        true
    });
}

#[test]
fn a_cached_attachment_is_read_or_passed_over() {
    fuzz("CNI cache", 20, |source| {
        let text = damaged(source, &CACHED);
        let saved = source.once_in(4).then(|| {
            let delegate = r#"{"type":"bridge","mtu":1400,"isGateway":true,"bridge":"cni0"}"#;
            serde_json::from_str::<Value>(&damaged(source, &[delegate])).ok()
        });
        let read = libcni::parse(&text, |_| saved.flatten());
        if let Some(read) = &read {
            assert!(read.bridged.is_sound() && read.bridged.ports.len() == 1);
        }
        read.is_some()
    });
}

#[test]
fn a_record_is_read_or_passed_over_and_written_as_it_was_read() {
    fuzz("records", 20, |source| match source.below(4) {
        0 => {
            let read = Record::parse(&damaged(source, &RECORDS));
            let again = read.as_ref().map(|read| Record::parse(&read.render()));
            assert_eq!(again.flatten(), read);
            read.is_some_and(|read| !read.owner().to_string().is_empty())
        }
        1 => {
            let read = PortRecord::parse(&damaged(source, &PORTS));
            let again = read.as_ref().map(|read| PortRecord::parse(&read.render()));
            assert_eq!(again.flatten(), read);
            read.is_some_and(|read| !read.owner().to_string().is_empty())
        }
        2 => {
            let read = FolderPointer::parse(&damaged(source, &POINTERS));
            let again = read
                .as_ref()
                .map(|read| FolderPointer::parse(&read.render()));
            assert_eq!(again.flatten(), read);
            read.is_some()
        }
        _ => {
            let text = damaged(source, &OWNERS);
            let read = Owner::parse(&text);
            assert!(read.as_ref().is_none_or(|read| read.to_string() == text));
            read.is_some()
        }
    });
}
