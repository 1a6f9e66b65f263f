use std::fs;

use super::*;
use crate::config::flags::Flags;
use crate::config::settings::Settings;
use crate::host::flanneld::tests::Running;

#[test]
fn one_that_is_started_later_is_found_within_two_looks_and_is_gone_with_its_end() {
    let mut beside = Beside::new(Path::new("/proc"), Vec::new());
    beside.look();
    let running = Running::start(&["-etcd-prefix=/a"], &[]);
    // The kernel shows it under its name from now on.
    let pid = running.found().pid;
    let is_there = |found: &[Flanneld]| found.iter().any(|flanneld| flanneld.pid == pid);
    for _ in 0..3 * AFRESH {
        assert!(is_there(&beside.look()));
    }
    drop(running);
    assert!(!is_there(&beside.look()));
}

/// A process of a made-up `/proc`, in our network namespace.
fn make(proc: &Path, pid: u32, comm: &str) {
    let process = proc.join(pid.to_string());
    fs::create_dir_all(process.join("ns")).expect("made");
    fs::write(process.join("comm"), comm).expect("written");
    fs::write(process.join("cmdline"), "flanneld\0").expect("written");
    let _ = fs::remove_file(process.join("ns/net"));
    std::os::unix::fs::symlink("net:[1]", process.join("ns/net")).expect("linked");
}

#[test]
fn a_process_is_looked_into_twice_and_then_once_in_a_while() {
    let dir = tempfile::tempdir().expect("a folder");
    let proc = dir.path();
    fs::create_dir(proc.join("thread-self")).expect("made");
    std::os::unix::fs::symlink("../7/ns", proc.join("thread-self/ns")).expect("linked");
    make(proc, 7, "tweedd");
    make(proc, 8, "sh");
    make(proc, 9, "sh");
    let mut beside = Beside::new(proc, Vec::new());
    let mut look = || -> Vec<u32> { beside.look().iter().map(|found| found.pid).collect() };
    assert_eq!(look(), [0; 0]);
    make(proc, 8, "flanneld");
    assert_eq!(look(), [8]);
    make(proc, 9, "flanneld");
    for _ in 2..AFRESH - 1 {
        assert_eq!(look(), [8], "the other has been looked into");
    }
    assert_eq!(look(), [8, 9]);
}

#[test]
fn only_what_surely_works_on_the_same_conflicts() {
    let flags = Flags([("etcd-prefix", vec!["/a".to_owned()])].into());
    let options = Options::read(&Settings::new(&flags, &|_| None)).expect("options");
    let flanneld = |network: Option<&str>, file: Option<&str>| Flanneld {
        pid: 7,
        network: network.map(str::to_owned),
        subnet_file: file.map(PathBuf::from),
    };
    let ours = "/run/flannel/subnet.env";
    for (network, file, rewritten, conflicts) in [
        (Some("etcd /a/config"), None, false, true),
        (Some("etcd /b/config"), Some("/run/b.env"), true, false),
        (None, Some(ours), false, true),
        (None, None, false, false),
        (None, None, true, true),
    ] {
        let (text, sure) = flanneld(network, file).beside(&options, rewritten);
        assert_eq!(sure, conflicts, "{network:?} {file:?} {rewritten}");
        assert!(text.contains("pid 7"), "{text}");
    }
}
