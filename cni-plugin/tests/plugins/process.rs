//! The contract of a plugin process.

use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};
use tweed_model::plugins::{BINARY, LINKS};

use super::lab::{Pod, answer, on_host};

fn conf(version: &str) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "loopback"})
}

#[test]
fn a_plugin_called_by_hand_prints_what_it_is() {
    on_host(|host| {
        let mut command = Command::new(host.path("bin/bridge"));
        command.env_clear();
        let answer = answer(command, "");
        assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
        assert!(
            answer
                .stderr
                .starts_with("CNI bridge plugin compatible with v1.9.1 (tweed "),
            "{answer:?}"
        );
        assert!(
            answer
                .stderr
                .ends_with("versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n")
        );
    });
}

/// All names of the binary, as `tweedd install-cni` links them, and the name of a copy.
fn names() -> impl Iterator<Item = &'static str> {
    [BINARY].into_iter().chain(LINKS).chain(["copy"])
}

/// The words that are versions to Nomad, which takes the first of what a plugin prints on both outputs.
fn version(word: &str) -> Option<Vec<u64>> {
    let word = word.strip_prefix('v').unwrap_or(word);
    word.split('.').map(|part| part.parse().ok()).collect()
}

/// Nomad runs each file of the folder without arguments for three seconds at most. Jobs with a bridge are placed where
/// `bridge` is 0.4.0 or later; CHECK is used from 1.3.0 on.
#[test]
fn the_first_version_that_each_plugin_prints_is_that_of_the_reference() {
    on_host(|host| {
        for plugin in names() {
            let mut command = Command::new(host.path("bin").join(plugin));
            command.env_clear();
            let answer = answer(command, "");
            assert_eq!(answer.code, 0, "{answer:?}");
            let said = answer.stdout + &answer.stderr;
            let first = said.split_whitespace().find_map(version);
            let first = first.unwrap_or_else(|| panic!("{plugin} names none: {said}"));
            assert_eq!(first, [1, 9, 1], "{said}");
            assert!(first >= vec![1, 3, 0] && said.contains("compatible with"));
            assert!(said.contains(tweed_model::VERSION), "{said}");
            let list = said.lines().nth(1).unwrap_or_default();
            let spoken = spoken(plugin).join(", ");
            assert_eq!(list, format!("CNI protocol versions supported: {spoken}"));
        }
    });
}

/// The versions of the specification that the reference's plugin of this name speaks.
fn spoken(plugin: &str) -> &'static [&'static str] {
    const ALL: [&str; 7] = [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ];
    match plugin {
        "bandwidth" => &ALL[2..],
        "vrf" => &ALL[3..],
        "firewall" => &ALL[4..],
        _ => &ALL,
    }
}

#[test]
fn each_plugin_answers_version_without_environment_and_stdin() {
    on_host(|host| {
        for plugin in names() {
            let mut command = Command::new(host.path("bin").join(plugin));
            command.env_clear().env("CNI_COMMAND", "VERSION");
            let answer = answer(command, "not json");
            assert_eq!(answer.code, 0);
            let reply: Value = serde_json::from_str(&answer.stdout).unwrap();
            let expected = json!({"cniVersion": "1.1.0", "supportedVersions": spoken(plugin)});
            assert_eq!(reply, expected, "{plugin}");
            assert_eq!(answer.stdout.lines().count(), 1);
        }
    });
}

#[test]
fn an_error_is_one_document_in_the_version_of_the_configuration() {
    on_host(|host| {
        let pod = Pod::new();
        for version in ["0.3.1", "1.0.0"] {
            let call = host.call("host-local", conf(version), &pod);
            let answer = call.run("ADD");
            assert_eq!(answer.code, 1);
            let error: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(error["cniVersion"], version);
            assert_eq!(error["code"], 7);
            assert_eq!(error["msg"], "IPAM config missing 'ipam' key");
            assert_eq!(answer.stderr, "");
        }
    });
}

#[test]
fn what_is_wrong_is_found_in_order_and_before_anything_is_done() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("loopback", conf("1.0.0"), &pod);
        for (call, verb, code, text) in [
            (call.clone(), "FROB", 4, "unknown CNI_COMMAND: FROB"),
            (
                call.container_id(""),
                "ADD",
                4,
                "required env variables [CNI_CONTAINERID] missing",
            ),
            (
                call.container_id("a/b"),
                "ADD",
                4,
                "invalid characters in containerID; a/b",
            ),
            (
                call.ifname("a:b"),
                "ADD",
                4,
                "interface name contains / or : or whitespace",
            ),
            (
                call.path("").netns(""),
                "ADD",
                4,
                "[CNI_NETNS,CNI_PATH] missing",
            ),
            (
                call.set("cniVersion", "9.9.9"),
                "ADD",
                1,
                "config is \"9.9.9\", plugin supports",
            ),
            (call.set("name", ""), "ADD", 7, "missing network name"),
            (
                call.set("name", "a b"),
                "ADD",
                7,
                "invalid characters found in network name; a b",
            ),
            (
                call.set("cniVersion", 3),
                "ADD",
                6,
                "cniVersion: invalid type",
            ),
            (
                call.set("cniVersion", "0.3.1"),
                "CHECK",
                1,
                "does not allow CHECK",
            ),
            (call.clone(), "GC", 1, "config version does not allow GC"),
            (call, "STATUS", 1, "config version does not allow STATUS"),
        ] {
            let (is, error) = call.fails(verb);
            assert!(error.contains(text), "{verb}: {error}");
            assert_eq!(is, code, "{error}");
        }
        assert!(pod.sh("ip link show lo").contains("state DOWN"));
    });
}

#[test]
fn a_configuration_that_cannot_be_read_is_an_error_of_input() {
    on_host(|host| {
        let pod = Pod::new();
        let mut command = host.call("loopback", conf("1.0.0"), &pod).command("ADD");
        let folder = File::open("/").unwrap();
        let output = command.stdin(folder).output().unwrap();
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["code"], 5);
        assert_eq!(error["msg"], "error reading from stdin: is a directory");
    });
}

#[test]
fn the_hosts_own_namespace_is_refused_before_anything_is_done() {
    on_host(|host| {
        let pod = Pod::new();
        // The plugin must be inside for its own namespace to be the container's.
        let inside = |verb: &str, allow: &str| {
            let call = host.call("bridge", host.bridge_conf("1.0.0", &["10.0.0.0/24"]), &pod);
            let plugin = call.command(verb);
            let mut command = Command::new("ip");
            command
                .args(["netns", "exec", pod.name()])
                .arg(plugin.get_program());
            for (key, value) in plugin.get_envs() {
                command.env(key, value.unwrap_or_default());
            }
            command.env("CNI_NETNS_OVERRIDE", allow);
            answer(command, &call.conf().to_string())
        };
        for verb in ["ADD", "DEL", "CHECK"] {
            let (code, text) = inside(verb, "").error();
            assert_eq!(code, 8, "{text}");
            assert!(
                text.starts_with("plugin's netns and netns from CNI_NETNS should not be the same")
            );
        }
        assert!(pod.links().is_empty(), "no bridge was made");
        assert!(host.reservations("net").is_empty());
        assert_eq!(inside("DEL", "TRUE").code, 0);
    });
}

#[test]
fn the_name_of_the_program_alone_decides_which_plugin_it_is() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge"});
        host.call("loopback", conf.clone(), &pod).add();
        assert!(pod.sh("ip link show lo").contains("UP"));
        assert!(host.links().is_empty(), "no bridge");

        for verb in ["ADD", "DEL"] {
            let (code, text) = host.call("copy", conf.clone(), &pod).fails(verb);
            assert_eq!(code, 7);
            for words in [
                "\"copy\" is not a plugin of this binary",
                "it answers to tweed, flannel, bridge, host-local, loopback, portmap, ptp",
                "`tweedd install-cni`",
            ] {
                assert!(text.contains(words), "{text}");
            }
        }
    });
}

#[test]
fn a_configuration_without_end_is_refused_and_the_limit_named() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("loopback", conf("1.0.0"), &pod);
        let mut command = call.command("ADD");
        let zeros = File::open("/dev/zero").unwrap();
        let output = command.stdin(zeros).output().unwrap();
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["code"], 5);
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.contains("longer than 8 MiB"), "{msg}");
    });
}

#[test]
fn a_result_that_nobody_can_read_is_a_failure() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("loopback", conf("1.0.0"), &pod);
        for verb in ["ADD", "VERSION"] {
            let mut command = call.command(verb);
            let conf = host.path("conf");
            std::fs::write(&conf, call.conf().to_string()).unwrap();
            let full = File::options().write(true).open("/dev/full").unwrap();
            let status = command
                .stdin(File::open(conf).unwrap())
                .stdout(full)
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(1), "{verb}");
        }
    });
}
