mod calls;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::*;
use crate::fixture;

/// Runs code on a thread that has given up what the daemon gives up.
fn confined<T: Send>(files: &Files, code: impl FnOnce(InForce) -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| code(confine(files)));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn denied(done: std::io::Result<impl Sized>, what: &str) {
    let error = done.map(drop).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
}

#[test]
fn everything_is_given_up_on_this_kernel() {
    let dir = tempfile::tempdir().expect("a folder");
    let in_force = confined(&Files::in_folder(dir.path()), |in_force| in_force);
    assert_eq!(in_force, ["no new privileges", "files", "system calls"]);
}

#[test]
fn code_in_the_daemon_writes_in_its_own_folders_only_and_reads_everywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let (own, bin) = (dir.path().join("own"), dir.path().join("bin"));
    for folder in [&own, &bin] {
        fs::create_dir(folder).expect("made");
    }
    fs::write(bin.join("tweed"), "the plugin").expect("written");
    confined(&Files::in_folder(&own), |_| {
        denied(fs::write(bin.join("tweed"), "evil"), "written over");
        denied(fs::write(bin.join("other"), "evil"), "placed");
        denied(fs::remove_file(bin.join("tweed")), "removed");
        denied(fs::create_dir(bin.join("folder")), "made");
        denied(
            std::os::unix::fs::symlink("/bin/sh", bin.join("link")),
            "linked",
        );
        fs::write(own.join("evil"), "evil").expect("in our own folder");
        let moved = fs::rename(own.join("evil"), bin.join("evil"));
        moved.expect_err("moved out of our own folder");
        assert_eq!(
            fs::read_to_string(bin.join("tweed")).expect("read"),
            "the plugin"
        );
        // What it does need.
        fs::create_dir_all(own.join("a/b")).expect("folders");
        fs::rename(own.join("evil"), own.join("renamed")).expect("renamed");
        let socket = UnixListener::bind(own.join("socket")).expect("a socket");
        drop(socket);
        fs::remove_file(own.join("socket")).expect("removed");
        fs::write("/dev/null", "").expect("the device that takes all");
    });
}

#[test]
fn code_in_the_daemon_starts_no_program_and_enters_no_namespace() {
    let dir = tempfile::tempdir().expect("a folder");
    confined(&Files::in_folder(dir.path()), |_| {
        denied(Command::new("/bin/true").status(), "started");
        let own = fs::File::open("/proc/thread-self/ns/net").expect("open");
        let refused = Err(Errno::EPERM);
        assert_eq!(setns(&own, CloneFlags::CLONE_NEWNET), refused);
        assert_eq!(unshare(CloneFlags::CLONE_NEWNET), refused);
        let mounted = nix::mount::mount(
            Some("evil"),
            dir.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        );
        assert_eq!(mounted, refused);
        // Threads, and what they are given up too.
        let started = thread::spawn(|| denied(Command::new("/bin/true").status(), "started"));
        started.join().expect("threads start");
    });
}

#[test]
fn a_folder_that_is_not_there_yet_is_made_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = dir.path().join("run/tweed");
    let files = Files::in_folder(&own);
    files.make();
    confined(&files, |_| {
        fs::write(own.join("file"), "").expect("written");
        denied(fs::write(Path::new("/tmp").join("evil"), ""), "elsewhere");
        denied(fs::write(dir.path().join("run/evil"), ""), "above it");
    });
}

/// What the daemon gives up with these folders.
fn files_of(flags: [(&'static str, &Path); 4]) -> Files {
    let flags = flags.map(|(name, path)| (name, path.to_string_lossy().into_owned()));
    let store = ("store", "file".to_owned());
    let files = Files::of(&fixture::options(flags.into_iter().chain([store])));
    files.make();
    files
}

/// Nothing is written: this is a file of the kernel's, or one that is compared afterwards.
fn cannot_be_opened_for_writing(path: &Path) {
    let what = path.display().to_string();
    denied(fs::File::options().write(true).open(path), &what);
}

#[test]
fn with_the_agents_own_options_no_other_file_of_the_host_can_be_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let victim = path("victim");
    fs::write(&victim, "whole").expect("written");
    let files = files_of([
        ("store-dir", &path("store")),
        ("state-dir", &path("state")),
        ("run-dir", &path("run")),
        ("subnet-file", &path("flannel/subnet.env")),
    ]);
    confined(&files, |in_force| {
        assert!(in_force.contains(&"files".to_owned()), "{in_force:?}");
        cannot_be_opened_for_writing(&victim);
        cannot_be_opened_for_writing(Path::new("/proc/sys/kernel/core_pattern"));
        cannot_be_opened_for_writing(Path::new("/proc/self/mem"));
        denied(fs::write(path("new"), ""), "made");
        for own in ["store/a", "run/a", "flannel/a"] {
            fs::write(path(own), "").expect(own);
        }
        // One folder an instance.
        let instance = fs::read_dir(path("state")).expect("read").next();
        let instance = instance.expect("made").expect("read").path();
        fs::write(instance.join("a"), "").expect("state");
        let switch = fs::File::options()
            .write(true)
            .open("/proc/sys/net/ipv4/ip_forward");
        if let Err(error) = switch {
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{error}");
        }
    });
    assert_eq!(fs::read_to_string(&victim).expect("read"), "whole");
}

#[test]
fn a_folder_that_cannot_be_made_opens_the_nearest_above_it_and_the_root_is_never_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let victim = path("victim");
    fs::write(&victim, "whole").expect("written");
    fs::create_dir(path("above")).expect("made");
    std::os::unix::fs::symlink(path("nowhere/at/all"), path("above/link")).expect("linked");
    let files = files_of([
        ("store-dir", &path("above/link/store")),
        ("state-dir", &path("above/link/state")),
        ("run-dir", &path("run")),
        ("subnet-file", Path::new("/subnet.env")),
    ]);
    confined(&files, |_| {
        cannot_be_opened_for_writing(&victim);
        cannot_be_opened_for_writing(Path::new("/proc/sys/kernel/core_pattern"));
        denied(fs::write(path("new"), ""), "made");
        fs::write(path("above/new"), "").expect("in the nearest above our own");
        fs::write(path("run/a"), "").expect("in our own folder");
    });
}

#[test]
fn a_kubeconfig_that_starts_a_program_is_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("kubeconfig");
    for (text, starts) in [
        (
            "users:\n- name: a\n  user:\n    exec:\n      command: aws\n",
            true,
        ),
        (r#"{"users":[{"user":{"exec":{"command":"aws"}}}]}"#, true),
        (
            "users:\n- name: executor\n  user:\n    tokenFile: /exec\n",
            false,
        ),
    ] {
        fs::write(&file, text).expect("written");
        assert_eq!(starts_programs(&file), starts, "{text}");
    }
    assert!(!starts_programs(&dir.path().join("none")));
}
