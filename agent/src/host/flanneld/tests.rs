use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tweed_netlink::netns::isolated;

use super::*;
use crate::fixture;

/// A process that the kernel calls `flanneld`, and that waits until its input ends.
pub(super) struct Running {
    _dir: TempDir,
    child: Child,
}

impl Running {
    pub(super) fn start(words: &[&str], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("flanneld");
        fs::write(&path, "#!/bin/sh\nread line\n").expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
        let mut command = Command::new(&path);
        command.args(words).envs(variables.iter().copied());
        command.stdin(Stdio::piped());
        let child = loop {
            match command.spawn() {
                // Another test's child had our descriptor for writing open, between its fork and its exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                started => break started.expect("started"),
            }
        };
        Self { _dir: dir, child }
    }

    /// The process as the search finds it, once the kernel shows it under its name.
    pub(super) fn found(&self) -> Flanneld {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let pid = self.child.id();
            let all = find(Path::new("/proc"));
            if let Some(found) = all.into_iter().find(|flanneld| flanneld.pid == pid) {
                return found;
            }
            assert!(Instant::now() < deadline, "pid {pid} is not found");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn options(words: &[(&'static str, &str)]) -> Options {
    let words = words
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    fixture::options(words)
}

fn refusal(found: &Flanneld, words: &[(&'static str, &str)]) -> Option<String> {
    let verdict = check(std::slice::from_ref(found), &options(words));
    verdict.err().map(|error| error.to_string())
}

#[test]
fn a_flanneld_on_the_same_network_is_refused_by_pid_and_may_be_allowed() {
    let running = Running::start(
        &["-etcd-prefix", "/net//a/", "-subnet-file=/run/a.env"],
        &[],
    );
    let found = running.found();
    let ours = ("etcd-prefix", "/net/a");
    let text = refusal(&found, &[ours]).expect("refused");
    assert!(
        text.contains(&format!("pid {}", running.child.id())),
        "{text}"
    );
    assert!(text.contains("etcd /net/a/config"), "{text}");
    assert_eq!(refusal(&found, &[ours, ("allow-flanneld", "true")]), None);
}

#[test]
fn a_flanneld_on_another_network_is_refused_only_over_a_common_subnet_file() {
    let running = Running::start(&[], &[("FLANNELD_KUBE_SUBNET_MGR", "true")]);
    let found = running.found();
    assert_eq!(found.network.as_deref(), Some("Kubernetes"));
    let text = refusal(&found, &[]).expect("both write the default file");
    assert!(
        text.contains("writes the same /run/flannel/subnet.env"),
        "{text}"
    );
    assert_eq!(refusal(&found, &[("subnet-file", "/run/b.env")]), None);
}

#[test]
fn its_environment_counts_as_flanneld_reads_it() {
    let variables = [
        ("FLANNELD_ETCD_PREFIX", "/env"),
        ("TWEED_ETCD_PREFIX", "/not-read"),
    ];
    let running = Running::start(&["--ip-masq"], &variables);
    assert_eq!(running.found().network.as_deref(), Some("etcd /env/config"));
}

#[test]
fn a_command_line_that_is_not_understood_still_names_the_process() {
    let running = Running::start(&["--multi-cluster-cidr"], &[]);
    let found = running.found();
    assert_eq!(
        (found.network.clone(), found.subnet_file.clone()),
        (None, None)
    );
    assert_eq!(refusal(&found, &[]), None);
}

#[test]
fn a_flanneld_that_has_ended_is_not_running_though_nobody_waited_for_it() {
    let mut running = Running::start(&[], &[]);
    let pid = running.found().pid;
    running.child.kill().expect("killed");
    let deadline = Instant::now() + Duration::from_secs(10);
    let is_found = || {
        find(Path::new("/proc"))
            .iter()
            .any(|flanneld| flanneld.pid == pid)
    };
    // Its command line is gone some moments before it is a zombie.
    let has_ended = || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
        state.contains("(flanneld) Z")
    };
    while !has_ended() || is_found() {
        assert!(Instant::now() < deadline, "pid {pid} is still found");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_flanneld_in_another_network_namespace_is_none_of_our_business() {
    let running = Running::start(&[], &[]);
    let pid = running.found().pid;
    let seen = isolated(|| find(Path::new("/proc")));
    assert!(seen.iter().all(|flanneld| flanneld.pid != pid), "{seen:?}");
    // A confined agent goes by the sockets of both, of which one has another elsewhere.
    let process = PathBuf::from(format!("/proc/{pid}"));
    let _socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    let own = || sockets(Path::new("/proc/thread-self"));
    assert!(!own().is_disjoint(&sockets(&process)));
    let elsewhere = isolated(|| {
        let _socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        own()
    });
    assert!(!elsewhere.is_empty() && elsewhere.is_disjoint(&sockets(&process)));
}
