//! The binary from the outside: exit codes, streams, and what never shows.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn tweedd(words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tweedd"))
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_wrong_command_line_is_exit_code_64_with_the_reason_on_standard_error() {
    for (words, reason) in [
        (&["--etcd-endpiont=x"][..], "--etcd-endpoint"),
        (
            &["-ip-masq=maybe"],
            "--ip-masq: \"maybe\" is not true or false",
        ),
        (&["run", "--iface"], "a value is required"),
        (&["--kube-subnet-mgr", "--store=file"], "name two stores"),
        (&["--state-dir=/x", "version"], "the command comes first"),
        (&["leases"], "Usage: tweedd leases"),
        (&["stauts"], "'status'"),
        (
            &["leases", "list", "--store=consul"],
            "there are: etcd, kube, file",
        ),
        (&["version", "--output=xml"], "possible values: text, json"),
        (&["connectivity", "--host=a"], "an equals sign"),
        (&["connectivity", "serve"], "--address"),
    ] {
        let output = tweedd(words, &[]);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{words:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(reason),
            "{words:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{words:?}");
    }
}

#[test]
fn a_wrong_variable_is_exit_code_64_and_named() {
    let output = tweedd(&[], &[("FLANNELD_HEALTHZ_PORT", "http")]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        stderr(&output),
        "tweedd: environment variable FLANNELD_HEALTHZ_PORT: \"http\" is not a port from 0 (no server) to 65535\n"
    );
}

#[test]
fn help_and_version_go_to_standard_output_with_exit_code_0() {
    for words in [
        &["-help"][..],
        &["--help"],
        &["run", "-h"],
        &["help", "leases"],
    ] {
        let output = tweedd(words, &[]);
        assert!(output.status.success(), "{words:?}");
        assert!(stdout(&output).contains("Usage: tweedd"), "{words:?}");
    }
    let version = format!("tweedd {}\n", tweed_model::VERSION);
    for words in [&["-version"][..], &["--version"], &["version"]] {
        assert_eq!(stdout(&tweedd(words, &[])), version, "{words:?}");
    }
}

#[test]
fn the_help_of_the_daemon_shows_default_and_variables_of_a_flag() {
    let text = stdout(&tweedd(&["run", "--help"], &[]));
    assert!(
        text.contains("[default: /run/flannel/subnet.env]"),
        "{text}"
    );
    assert!(
        text.contains("TWEED_SUBNET_FILE, FLANNELD_SUBNET_FILE"),
        "{text}"
    );
}

#[test]
fn a_failure_is_exit_code_1_and_names_the_store() {
    let words = ["config", "get", "--etcd-endpoints=http://127.0.0.1:1"];
    let output = tweedd(&words, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("127.0.0.1:1"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn of_several_endpoints_out_of_reach_each_is_named_and_what_was_tried_once() {
    let endpoints = "--etcd-endpoints=http://127.0.0.1:1,http://127.0.0.1:2";
    let said = stderr(&tweedd(&["config", "get", endpoints], &[]));
    assert!(said.contains("127.0.0.1:1") && said.contains("127.0.0.1:2"));
    let tried = said.matches("read the network configuration").count();
    assert_eq!(tried, 1, "{said}");
}

#[test]
fn a_folder_that_does_not_exist_is_no_empty_store() {
    for words in [["leases", "list"], ["config", "get"], ["config", "check"]] {
        let words = words
            .into_iter()
            .chain(["--store=file", "--store-dir=/nowhere/at/all"]);
        let output = tweedd(&words.collect::<Vec<_>>(), &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains("folder /nowhere/at/all (--store-dir) does not exist"),
            "{said}"
        );
    }
}

#[test]
fn a_configuration_in_place_of_its_files_name_is_refused_with_the_way_to_give_it() {
    let words = ["config", "check", r#"{"Network": "10.244.0.0/16"}"#];
    let output = tweedd(&words, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("the name of its file is wanted"), "{said}");
}

#[test]
fn a_connectivity_test_without_responders_says_how_to_name_them() {
    let said = stderr(&tweedd(&["connectivity", "--token-file=/nowhere"], &[]));
    assert!(said.contains("--host and --pod"), "{said}");
}

#[test]
fn a_password_shows_in_no_log_at_any_level() {
    let variables = [
        ("TWEED_ETCD_ENDPOINTS", "http://127.0.0.1:1"),
        ("TWEED_ETCD_USERNAME", "somebody"),
        ("FLANNELD_ETCD_PASSWORD", "hunter2"),
        ("TWEED_LOG_LEVEL", "trace"),
    ];
    let output = tweedd(&["leases", "list"], &variables);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("127.0.0.1:1") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_configuration_in_a_file_is_checked_without_any_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("net-conf.json");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("written");
        tweedd(
            &["config", "check", "-o", "json", &file.to_string_lossy()],
            &[],
        )
    };
    let good = check(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#);
    assert!(good.status.success(), "{}", stderr(&good));
    let value: serde_json::Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(value["pools"][0]["subnets"], 255);
    let bad = check(r#"{"Network":"10.5.0.0/33"}"#);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("10.5.0.0/33"), "{}", stderr(&bad));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tweedd"))
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

/// A daemon that waits for an etcd that isn't there. Nothing is programmed without a configuration.
#[test]
fn a_waiting_daemon_ends_at_once_on_sigterm_and_never_showed_its_password() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tweedd"))
        .args([
            "-etcd-endpoints",
            "http://127.0.0.1:1",
            "-etcd-username=somebody",
        ])
        .args(["--allow-flanneld", "--log-format=json", "--log-level=trace"])
        .arg(format!("--state-dir={}", path("state")))
        .arg(format!("--run-dir={}", path("run")))
        .arg(format!("--subnet-file={}", path("subnet.env")))
        .env("FLANNELD_ETCD_PASSWORD", "hunter2")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let stderr = child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut seen: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        let waiting = line.contains("\"waiting\"");
        seen.push(line);
        if waiting {
            break;
        }
    }
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let asked = Instant::now();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("sent");
    let status = child.wait().expect("it ends");
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    seen.extend(lines);
    assert!(
        seen.iter().any(|line| line.contains("127.0.0.1:1")),
        "{seen:?}"
    );
    for line in &seen {
        assert!(!line.contains("hunter2"), "{line}");
        let object: serde_json::Value = serde_json::from_str(line).expect("one JSON object a line");
        assert!(
            object["level"].is_string() && object["timestamp"].is_string(),
            "{line}"
        );
    }
    assert!(!dir.path().join("subnet.env").exists());
}

/// Every command, down to the last, with the words that it needs to be asked for JSON.
const COMMANDS: [&str; 11] = [
    "plan",
    "confirm",
    "status",
    "cleanup --dry-run",
    "leases list",
    "leases release 10.5.1.0/24",
    "config get",
    "config set",
    "config check",
    "install-cni",
    "docker-opts",
];

/// In a host of its own, with a folder as the store: no test may look at or change the machine it runs on.
#[test]
fn every_command_answers_in_json_when_asked() {
    tweed_netlink::netns::isolated(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let text = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;
        std::fs::write(path("conf"), text).expect("written");
        std::fs::write(path("plugin"), "x").expect("written");
        std::fs::create_dir_all(path("store/subnets")).expect("made");
        std::fs::write(path("store/config"), text).expect("written");
        let lease = r#"{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"alloc"}"#;
        std::fs::write(path("store/subnets/10.5.1.0-24.json"), lease).expect("written");
        let store = [
            "--store=file".to_owned(),
            format!("--store-dir={}", path("store")),
        ];
        let host = ["state", "run"].map(|name| format!("--{name}-dir={}", path(name)));
        let cni = ["bin", "conf"].map(|name| format!("--{name}-dir={}", path("cni")));
        // Of an agent that never was, the first two have nothing to tell.
        for command in &COMMANDS[2..] {
            let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            match words[0].as_str() {
                "install-cni" => words.extend(
                    cni.iter()
                        .cloned()
                        .chain([format!("--plugin={}", path("plugin"))]),
                ),
                "docker-opts" => {
                    words.extend(["-f".to_owned(), path("none"), "-d".to_owned(), path("opts")])
                }
                "leases" | "config" => words.extend(store.iter().cloned()),
                _ => words.extend(store.iter().chain(&host).cloned()),
            }
            if *command == "config set" {
                words.push(path("conf"));
            }
            words.push("--output=json".to_owned());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = tweedd(&words, &[]);
            let parsed = serde_json::from_slice::<serde_json::Value>(&output.stdout);
            assert!(
                parsed.is_ok(),
                "{command}: {:?}\n{}",
                parsed,
                stderr(&output)
            );
        }
        let version = tweedd(&["version", "-o", "json"], &[]);
        serde_json::from_slice::<serde_json::Value>(&version.stdout).expect("JSON");
    });
}

#[test]
fn each_shell_gets_a_completion_script_with_all_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = tweedd(&["completions", shell], &[]);
        assert!(output.status.success(), "{shell}: {}", stderr(&output));
        let script = stdout(&output);
        let names = COMMANDS.iter().filter_map(|line| line.split(' ').next());
        for name in names.chain(["run", "version", "completions", "doctor", "adopt"]) {
            assert!(script.contains(name), "{shell}: no {name}");
        }
    }
    let script = stdout(&tweedd(&["completions", "bash"], &[]));
    // It is longer than an argument may be.
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(script.as_bytes()).expect("written");
    let mut bash = Command::new("bash");
    let check = bash.arg("-n").arg(file.path()).status().expect("bash");
    assert!(check.success(), "bash does not read it");
}

#[test]
fn a_connectivity_test_that_can_not_be_made_says_what_it_lacks() {
    let no_token = tweedd(&["connectivity", "--host=a=192.0.2.1"], &[]);
    assert_eq!(no_token.status.code(), Some(1));
    assert!(
        stderr(&no_token).contains("--token-file"),
        "{}",
        stderr(&no_token)
    );

    let dir = tempfile::tempdir().expect("a folder");
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef").expect("written");
    let token = format!("--token-file={}", token.display());
    let no_pod = tweedd(&["connectivity", &token], &[]);
    assert_eq!(no_pod.status.code(), Some(1));
    for word in ["no pod", "manifests/connectivity.yaml", "--host"] {
        assert!(stderr(&no_pod).contains(word), "{}", stderr(&no_pod));
    }
    let both = ["--host=a=192.0.2.1", "--host=a=192.0.2.2"];
    let twice = tweedd(&["connectivity", &token, both[0], both[1]], &[]);
    assert_eq!(twice.status.code(), Some(64));
    assert!(
        stderr(&twice).contains("a is given twice"),
        "{}",
        stderr(&twice)
    );
}

#[test]
fn a_file_is_checked_for_the_store_that_cuts_the_network() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("net-conf.json");
    let text = r#"{"Network":"10.244.0.0/16","SubnetLen":12,"Backend":{"Type":"vxlan"}}"#;
    std::fs::write(&file, text).expect("written");
    let check = |store: &str| tweedd(&["config", "check", &file.to_string_lossy(), store], &[]);
    for store in ["--store=kube", "--kube-subnet-mgr"] {
        let output = check(store);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        assert!(said.contains("10.244.0.0/16, cut by Kubernetes"), "{said}");
    }
    let output = check("--store=etcd");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("SubnetLen"), "{}", stderr(&output));
}
