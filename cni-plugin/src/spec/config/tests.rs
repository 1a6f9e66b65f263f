use proptest::prelude::*;

use super::*;

fn failure(text: &str) -> (u32, String) {
    let error = NetConf::parse(text.as_bytes(), &Version::ALL).unwrap_err();
    (error.kind.code(), error.to_string())
}

fn conf(text: &str) -> NetConf {
    NetConf::parse(text.as_bytes(), &Version::ALL).unwrap()
}

#[test]
fn errors_come_in_the_order_of_the_rules() {
    assert_eq!(failure("{").0, 6);
    assert_eq!(failure("[]").0, 6);
    assert_eq!(
        failure(r#"{"cniVersion":"9.9.9"}"#),
        (
            1,
            format!(
                "incompatible CNI versions; config is \"9.9.9\", plugin supports {}",
                Version::list(&Version::ALL)
            )
        )
    );
    assert_eq!(failure("{}"), (7, "missing network name".to_owned()));
    assert_eq!(
        failure(r#"{"name":"a/b"}"#),
        (
            7,
            "invalid characters found in network name; a/b".to_owned()
        )
    );
}

#[test]
fn no_version_means_the_first() {
    assert_eq!(conf(r#"{"name":"n"}"#).version, Version::V0_1_0);
}

#[test]
fn a_plugin_is_asked_in_no_version_that_it_does_not_speak() {
    let old = br#"{"name":"n","cniVersion":"0.3.1"}"#;
    let error = NetConf::parse(old, Version::V1_0_0.and_newer()).unwrap_err();
    let details = r#"config is "0.3.1", plugin supports ["1.0.0" "1.1.0"]"#;
    assert_eq!((error.kind.code(), error.details.as_str()), (1, details));
    let old = NetConf::parse(old, &Version::ALL).unwrap();
    assert_eq!(old.check_version(Version::V1_0_0.and_newer()), Err(error));
    assert_eq!(old.check_version(Version::V0_3_0.and_newer()), Ok(()));
}

#[test]
fn a_plugin_behind_another_gets_its_result_in_process_and_as_a_program() {
    let before = conf(r#"{"name":"n","cniVersion":"1.0.0","PrevResult":{"ips":[]}}"#);
    let result = conf(
        r#"{"name":"n","cniVersion":"1.0.0","prevResult":{"ips":[{"address":"10.0.0.2/24"}]}}"#,
    );
    let result = result.prev_result().unwrap().unwrap();
    let behind = before.following(result.clone());
    assert_eq!(behind.prev_result().unwrap(), Some(result.clone()));
    let sent = NetConf::from_value(behind.to_json().unwrap(), &Version::ALL).unwrap();
    assert_eq!(sent.prev_result().unwrap(), Some(result));
    assert_eq!(sent.raw.len(), 3, "{:?}", sent.raw);
}

#[test]
fn verbs_that_the_version_does_not_have_are_refused() {
    for (version, verb, allowed) in [
        ("0.3.1", Verb::Check, false),
        ("0.4.0", Verb::Check, true),
        ("1.0.0", Verb::Gc, false),
        ("1.0.0", Verb::Status, false),
        ("1.1.0", Verb::Gc, true),
        ("0.1.0", Verb::Add, true),
    ] {
        let conf = conf(&format!(r#"{{"name":"n","cniVersion":"{version}"}}"#));
        assert_eq!(conf.allows(verb).is_ok(), allowed, "{version} {verb:?}");
    }
}

#[test]
fn a_previous_result_must_have_the_version_of_the_configuration() {
    let of = |version: &str| {
        conf(&format!(
            r#"{{"name":"n","cniVersion":"1.0.0","prevResult":{{{version}"ips":[{{"address":"10.0.0.2/24"}}]}}}}"#
        ))
    };
    assert_eq!(of("").prev_result().unwrap().unwrap().ips.len(), 1);
    assert!(of(r#""cniVersion":"1.0.0","#).prev_result().is_ok());
    assert!(of(r#""cniVersion":"0.4.0","#).prev_result().is_err());
    assert!(conf(r#"{"name":"n"}"#).prev_result().unwrap().is_none());
}

#[test]
fn a_missing_list_of_attachments_is_not_an_empty_one() {
    assert!(conf(r#"{"name":"n"}"#).valid_attachments().is_err());
    let empty = conf(r#"{"name":"n","cni.dev/valid-attachments":[]}"#);
    assert_eq!(empty.valid_attachments().unwrap(), []);
    let one = conf(r#"{"name":"n","cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]}"#);
    assert_eq!(one.valid_attachments().unwrap()[0].container_id, "c");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = NetConf::parse(&bytes, &Version::ALL);
    }

    #[test]
    fn no_value_under_a_known_key_makes_the_reader_panic(
        key in "name|cniVersion|type|args|runtimeConfig|prevResult|cni.dev/valid-attachments",
        value in "null|1|1e400|\"x\"|\\[\\]|\\{\\}|\\[\\{\\}\\]|\\{\"cni\":3\\}|\\{\"ips\":\\[null\\]\\}",
    ) {
        let text = format!(r#"{{"name":"n","cniVersion":"1.1.0","{key}":{value}}}"#);
        if let Ok(conf) = NetConf::parse(text.as_bytes(), &Version::ALL) {
            let _ = conf.prev_result();
            let _ = conf.valid_attachments();
        }
    }
}
