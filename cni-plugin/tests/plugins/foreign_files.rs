//! What is no file, has no end, or lies where nothing can be written, in each place where a plugin reads or writes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::lab::{Answer, Call, Pod, answer, on_host};

/// Runs a verb, and fails where it hangs.
fn run(call: &Call, verb: &str) -> Answer {
    within(call, verb, &["timeout", "20"])
}

/// Runs a verb by way of another program.
fn within(call: &Call, verb: &str, words: &[&str]) -> Answer {
    let plugin = call.command(verb);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(plugin.get_program());
    for (key, value) in plugin.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    answer(command, &call.conf().to_string())
}

fn works(call: &Call, verb: &str, what: &str) {
    let answer = run(call, verb);
    assert_eq!(answer.code, 0, "{verb} with {what}: {answer:?}");
}

fn fails(call: &Call, verb: &str, words: &str, what: &str) {
    let (_, text) = run(call, verb).error();
    assert!(text.contains(words), "{verb} with {what}: {text}");
}

/// Puts something into a place that has no business there.
type Put = fn(&Path);

const WRONG: [(&str, Put); 3] = [
    ("a FIFO", |path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("a link without end", |path| {
        symlink("/dev/zero", path).unwrap()
    }),
    ("a huge file", |path| {
        fs::File::create(path).unwrap().set_len(1 << 40).unwrap()
    }),
];

fn put(put: Put, path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    put(path);
}

#[test]
fn what_lies_among_reservations_hangs_nobody() {
    on_host(|host| {
        for (what, wrong) in WRONG {
            for name in [
                "10.1.2.2",
                "last_reserved_ip.0",
                ".boot-id",
                ".unfinished",
                ".netns/.unfinished",
                ".netns/10.1.2.2",
            ] {
                let pod = Pod::new();
                let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "x", "ipam": host.ipam(&["10.1.2.0/24"])});
                let call = host.call("host-local", conf, &pod);
                put(wrong, &host.path("data/net").join(name));
                let what = format!("{what} as {name}");
                for verb in ["ADD", "STATUS", "CHECK", "DEL"] {
                    works(&call, verb, &what);
                }
                works(&call.valid(&[]), "GC", &what);
                assert!(host.reservations("net").is_empty(), "{what}");
                fs::remove_dir_all(host.path("data")).unwrap();
            }
        }
    });
}

#[test]
fn a_lock_that_is_no_file_is_named() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.0.0", &["10.1.2.0/24"]);
        let call = host.call("host-local", conf, &pod);
        let lock = host.path("data/net/lock");
        let words = format!("lock {}: it is a ", lock.display());
        for (what, wrong) in &WRONG[..2] {
            put(*wrong, &lock);
            fails(&call, "ADD", &words, what);
            fails(&call, "DEL", &words, what);
        }
    });
}

#[test]
fn files_that_a_configuration_names_are_read_up_to_a_limit() {
    on_host(|host| {
        let pod = Pod::new();
        for (what, wrong) in WRONG {
            let file = host.path("file");
            put(wrong, &file);
            let mut ipam = host.ipam(&["10.1.2.0/24"]);
            ipam["resolvConf"] = json!(file);
            let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "x", "ipam": ipam});
            let call = host.call("host-local", conf, &pod);
            fails(
                &call,
                "ADD",
                &format!("read resolvConf {}", file.display()),
                what,
            );
            works(&call, "DEL", what);

            let conf = json!({
                "cniVersion": "1.1.0", "name": "net", "type": "tweed", "subnetFile": file,
                "dataDir": host.path("flannel"), "ipam": {"dataDir": host.path("data")},
            });
            let call = host.call("tweed", conf, &pod);
            for verb in ["ADD", "STATUS"] {
                fails(&call, verb, &format!("open {}", file.display()), what);
            }
            let saved = host.path("flannel").join(pod.name());
            put(wrong, &saved);
            works(&call, "DEL", what);
            assert!(
                saved.symlink_metadata().is_err(),
                "{what} goes with its attachment"
            );
        }
    });
}

#[test]
fn records_that_are_none_hang_nobody() {
    on_host(|host| {
        for (what, wrong) in WRONG {
            let pod = Pod::new();
            put(wrong, &host.path("run/record"));
            let call = host
                .call("bridge", host.bridge_conf("1.1.0", &["10.1.2.0/24"]), &pod)
                .set("ipMasq", true);
            for verb in ["ADD", "STATUS", "DEL"] {
                works(&call, verb, what);
            }
            works(&call.valid(&[]), "GC", what);
        }
    });
}

#[test]
fn a_namespace_that_is_a_fifo_is_none() {
    on_host(|host| {
        let pod = Pod::new();
        let (what, wrong) = WRONG[0];
        put(wrong, &host.path("netns"));
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &["10.1.2.0/24"]), &pod)
            .netns(host.path("netns").to_str().unwrap());
        fails(&call, "ADD", "is not a network namespace", what);
        works(&call, "DEL", what);
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn del_of_nothing_works_where_nothing_can_be_written() {
    on_host(|host| {
        let pod = Pod::new();
        let all = host.path("").display().to_string();
        let script = format!(
            "mount -t tmpfs none {all}/state && mkdir -p {all}/state/net && mount -o remount,ro {all}/state && exec $0"
        );
        fs::create_dir(host.path("state")).unwrap();
        let state = host.path("state");
        let ipam = json!({"type": "host-local", "dataDir": state, "subnet": "10.1.2.0/24"});
        let flannel = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "tweed", "dataDir": state, "ipam": {"dataDir": state},
            "delegate": {"stateDir": state, "ipMasq": true}, "subnetFile": host.path("none"),
        });
        let bridge = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipMasq": true, "stateDir": state, "ipam": ipam,
        });
        for (plugin, conf) in [
            ("tweed", flannel),
            ("bridge", bridge.clone()),
            ("host-local", bridge),
        ] {
            let call = host.call(plugin, conf, &pod);
            let answer = within(&call, "DEL", &["unshare", "--mount", "sh", "-c", &script]);
            assert_eq!(
                (answer.code, answer.stdout.as_str()),
                (0, ""),
                "{plugin}: {answer:?}"
            );
        }
    });
}
