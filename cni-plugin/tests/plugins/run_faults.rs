//! `tweed run` where something is wrong: what it says, its exit code, and that nothing is left.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::lab::{Pod, on_host, sh};
use super::runner::Runner;

/// A plugin that fails on ADD alone, with an error object of this code.
fn failing(code: u32) -> String {
    format!(
        r#"cat > /dev/null
case $CNI_COMMAND in ADD|STATUS) echo '{{"code": {code}, "msg": "no luck", "details": "today"}}'; exit 1;; esac"#
    )
}

#[test]
fn an_add_that_fails_in_the_middle_leaves_nothing() {
    on_host(|host| {
        let runner = Runner::new(host);
        host.program("unlucky", &failing(7));
        runner.configure("1.0.0", json!([runner.bridge(), {"type": "unlucky"}]));
        let pod = Pod::new();
        let (code, why) = runner.fails(&["add", "net", &pod.path()]);
        assert_eq!(code, 1);
        let expected = "ADD of plugin unlucky: no luck; today";
        assert!(why.contains(expected), "{why}");
        assert_eq!(pod.links(), [""; 0]);
        runner.is_clean();
    });
}

#[test]
fn each_kind_of_mistake_has_its_exit_code_and_names_what_to_do() {
    on_host(|host| {
        let runner = Runner::new(host);
        for code in [11, 50, 51] {
            host.program(&format!("fails{code}"), &failing(code));
        }
        host.program(
            "silent",
            "cat > /dev/null; [ $CNI_COMMAND = DEL ] || { echo oh no >&2; exit 3; }",
        );
        host.program(
            "chatty",
            "cat > /dev/null; [ $CNI_COMMAND = DEL ] || echo no JSON",
        );
        let pod = Pod::new();
        let path = pod.path();
        let one = |name: &str| runner.configure("1.1.0", json!([{"type": name}]));
        for (name, words, code, why) in [
            ("fails11", ["add", "net", &path], 11, "no luck; today"),
            (
                "fails50",
                ["status", "net", "--all"],
                50,
                "STATUS of plugin fails50: no luck",
            ),
            ("fails51", ["status", "net", "--all"], 51, "no luck"),
            (
                "silent",
                ["add", "net", &path],
                1,
                "plugin silent failed (exit status: 3) saying \"oh no\"",
            ),
            (
                "chatty",
                ["add", "net", &path],
                1,
                "ADD of plugin chatty: it printed no result",
            ),
            (
                "nobody",
                ["add", "net", &path],
                5,
                "name its folder in CNI_PATH",
            ),
            ("../x", ["add", "net", &path], 5, "invalid plugin name"),
            (
                "chatty",
                ["version", "net", "--all"],
                1,
                "VERSION has no supportedVersions",
            ),
            (
                "chatty",
                ["add", "other", &path],
                3,
                "there is no network other in",
            ),
            (
                "chatty",
                ["add", "/no/such.conflist", &path],
                3,
                "/no/such.conflist: ",
            ),
            (
                "chatty",
                ["add", "net", "/run/netns/none"],
                4,
                "there is no network namespace at",
            ),
            (
                "chatty",
                ["add", "net", "none"],
                4,
                "for a container say docker://NAME",
            ),
            (
                "chatty",
                ["add", "net", "pid:4194304"],
                4,
                "there is no process 4194304",
            ),
            (
                "chatty",
                ["add", "net", "containerd://none"],
                4,
                "containerd runs no none",
            ),
            (
                "chatty",
                ["add", "net", "lxc://a"],
                2,
                "lxc:// is no engine, want docker://",
            ),
            (
                "chatty",
                ["frob", "net", &path],
                2,
                "is none of add, del, check",
            ),
            (
                "chatty",
                ["add", "net", "--all"],
                2,
                "add needs a container",
            ),
        ] {
            one(name);
            let (found, text) = runner.fails(&words);
            assert_eq!(found, code, "{words:?}: {text}");
            assert!(
                text.contains("tweed run: ") && text.contains(why),
                "{words:?}: {text}"
            );
        }
        runner.is_clean();
    });
}

#[test]
fn docker_that_does_not_answer_is_named_with_its_socket() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let socket = host.path("docker.sock");
        for (host, why) in [
            (
                format!("unix://{}", socket.display()),
                "start it, or set DOCKER_HOST",
            ),
            ("tcp://192.0.2.1:2375".to_owned(), "want unix://PATH"),
        ] {
            for verb in ["add", "del", "check"] {
                let mut command = runner.command(&[verb, "net", "docker://web"]);
                command.env("DOCKER_HOST", &host);
                let answer = super::lab::answer(command, "");
                assert_eq!(answer.code, 4, "{answer:?}");
                assert!(answer.stderr.contains(why), "{verb}: {answer:?}");
            }
        }
    });
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_has_started() {
    on_host(|host| {
        let runner = Runner::new(host);
        host.program(
            "slow",
            r#"cat > /dev/null; [ $CNI_COMMAND = ADD ] || exit 0; sleep 600 & echo $! > "$(dirname $0)/child"; wait"#,
        );
        runner.configure("1.0.0", json!([runner.bridge(), {"type": "slow"}]));
        let pod = Pod::new();
        let since = Instant::now();
        let (code, why) = runner.fails(&["add", "net", &pod.path(), "--timeout", "1"]);
        assert_eq!(code, 6, "{why}");
        assert!(since.elapsed() < Duration::from_secs(30));
        assert!(why.contains("no end after 1 s, killed"), "{why}");
        let child = fs::read_to_string(host.path("programs/child")).unwrap();
        let state = format!("/proc/{}/stat", child.trim());
        let is_gone = || {
            let stat = fs::read_to_string(Path::new(&state)).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !is_gone() {
            assert!(since.elapsed() < Duration::from_secs(30), "it runs on");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(pod.links(), [""; 0]);
        runner.is_clean();
    });
}

#[test]
fn what_is_not_the_networks_is_neither_taken_nor_removed() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let pod = Pod::new();
        pod.sh("ip link add eth0 type veth peer name other");
        let (code, why) = runner.fails(&["add", "net", &pod.path()]);
        assert_eq!(code, 4);
        assert!(
            why.contains("it has an interface eth0 already: name another one"),
            "{why}"
        );
        assert!(
            pod.links().contains(&"eth0".to_owned()),
            "another program's"
        );
        let (code, why) = runner.fails(&["add", "net", "/proc/self/ns/net"]);
        assert_eq!(code, 4);
        assert!(why.contains("is the host's own network"), "{why}");
        assert!(sh("ip link").contains("lo"));
        for (words, why) in [
            (["--ifname", "a/b"], "interface name contains /"),
            (["--id", "../../x"], "invalid characters in containerID"),
        ] {
            let [flag, value] = words;
            let answer = runner.run(&["add", "net", &pod.path(), flag, value]);
            assert_ne!(answer.code, 0);
            assert!(answer.stderr.contains(why), "{answer:?}");
        }
        runner.is_clean();
    });
}

#[test]
fn a_container_that_begins_anew_under_its_name_is_attached_anew() {
    on_host(|host| {
        let runner = Runner::new(host);
        runner.configure("1.0.0", json!([runner.bridge()]));
        let pod = Pod::new();
        let path = pod.path();
        runner.add(&["add", "net", &path]);
        // As after a restart: the namespace is another one, or its interface is gone.
        pod.sh("ip link del eth0");
        let answer = runner.run(&["add", "net", &path]);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert!(
            answer
                .stderr
                .contains("was left of an earlier container, and is removed")
        );
        assert!(pod.reaches("10.1.2.1"));
        assert_eq!(host.reservations("net").len(), 1);
        runner.ok(&["del", "net", &path]);
        runner.is_clean();
    });
}
