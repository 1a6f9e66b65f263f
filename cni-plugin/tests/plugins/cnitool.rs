//! What the CNI project's cnitool does (cni v1.3.0 and later, commit 3f51e88), recorded once, is what ours does by that
//! name: which plugins it calls, with which environment and standard input, what it prints, and the files it keeps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::lab::{Host, answer, on_host};

/// `@` stands for the folder in which all of it was.
const RECORDED: &str = include_str!("../data/cnitool.json");

#[derive(Deserialize)]
struct Recorded {
    /// Below `net.d`.
    files: BTreeMap<String, String>,
    cases: Vec<Case>,
}

/// One call; the next finds what it has left.
#[derive(Deserialize)]
struct Case {
    line: String,
    env: BTreeMap<String, String>,
    /// What plugins print on ADD.
    result: String,
    exit: i32,
    /// If that is 0. The text of errors is everyone's own.
    stdout: String,
    /// What each plugin was given, in the order of the calls.
    calls: Vec<String>,
    /// The cache afterwards.
    kept: BTreeMap<String, String>,
}

/// Writes down what it is given.
const PLUGIN: &str = r#"n=$(ls $REC | wc -l)
f=$REC/$n
for v in COMMAND CONTAINERID NETNS IFNAME ARGS PATH; do eval "echo CNI_$v=\$CNI_$v"; done > $f
cat >> $f
[ "$CNI_COMMAND" != ADD ] || cat $REC/../result
exit 0"#;

#[test]
fn ours_calls_prints_and_keeps_what_cnitool_does() {
    on_host(|host| {
        let recorded: Recorded = serde_json::from_str(RECORDED).unwrap();
        let top = host.path("");
        let top = top.to_str().unwrap().trim_end_matches('/');
        for (name, text) in &recorded.files {
            let path = host.path("net.d").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for name in ["rec", "rec2"] {
            host.program(name, PLUGIN);
        }
        for case in recorded.cases {
            let about = format!("{} {:?}", case.line, case.env);
            let (code, stdout, calls) = run(host, &case);
            assert_eq!(code, case.exit, "{about}");
            if code == 0 {
                assert_eq!(stdout.replace(top, "@"), case.stdout, "{about}");
            }
            let calls: Vec<_> = calls.iter().map(|text| text.replace(top, "@")).collect();
            assert_eq!(calls, case.calls, "{about}");
            assert_eq!(kept(&host.path("cache/results")), case.kept, "{about}");
        }
    });
}

fn run(host: &Host, case: &Case) -> (i32, String, Vec<String>) {
    let calls = host.path("rec");
    let _ = fs::remove_dir_all(&calls);
    fs::create_dir(&calls).unwrap();
    fs::write(host.path("result"), &case.result).unwrap();
    let link = host.path("cnitool");
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tweed"), &link);
    let mut command = Command::new(link);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("REC", &calls)
        .env("NETCONFPATH", host.path("net.d"))
        .env("CNI_PATH", host.path("programs"))
        .envs(&case.env)
        .args(case.line.split(' '))
        // The one thing that cnitool has not.
        .arg("--cache-dir")
        .arg(host.path("cache"));
    let answer = answer(command, "");
    let count = fs::read_dir(&calls).unwrap().count();
    let calls = (0..count).map(|index| fs::read_to_string(calls.join(index.to_string())).unwrap());
    (answer.code, answer.stdout, calls.collect())
}

fn kept(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    });
    files.collect()
}
