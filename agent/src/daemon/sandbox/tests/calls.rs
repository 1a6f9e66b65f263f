//! Calls that would reach other processes and other programs' files.

use std::fs::{File, Permissions};
use std::io::Error;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Child;

use nix::libc::{self, c_long};

use super::*;

/// Another process, until the test ends.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a call that changes nothing if it is allowed, or what a test may lose.
fn call(number: c_long, arguments: [usize; 5]) -> std::io::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    #[expect(unsafe_code, reason = "these calls are made as an attacker makes them")]
    // SAFETY: pointers among the arguments are to strings that outlive the call, or null, which the kernel refuses.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e) };
    if answer == -1 {
        return Err(Error::last_os_error());
    }
    Ok(answer)
}

/// The sandbox's error, which isn't the one of a file's owner.
fn refused(number: c_long, arguments: [usize; 5], what: &str) {
    let error = call(number, arguments).expect_err(what);
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
}

#[test]
fn code_in_the_daemon_signals_and_slows_no_other_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut other = Other(Command::new("sleep").arg("600").spawn().expect("started"));
    let pid = other.0.id() as usize;
    confined(&Files::in_folder(dir.path()), |_| {
        // The null signal: it says whether one may be sent.
        for (number, arguments, what) in [
            (libc::SYS_kill, [pid, 0, 0, 0, 0], "kill"),
            (libc::SYS_tkill, [pid, 0, 0, 0, 0], "tkill"),
            (libc::SYS_tgkill, [pid, pid, 0, 0, 0], "tgkill"),
            (
                libc::SYS_pidfd_send_signal,
                [0, 0, 0, 0, 0],
                "by descriptor",
            ),
            (libc::SYS_rt_sigqueueinfo, [pid, 0, 0, 0, 0], "queued"),
            (libc::SYS_prlimit64, [pid, 7, 0, 0, 0], "limits"),
            (libc::SYS_setpriority, [0, pid, 5, 0, 0], "priority"),
            (libc::SYS_setpriority, [2, 0, 5, 0, 0], "a user's priority"),
            (libc::SYS_sched_setaffinity, [pid, 0, 0, 0, 0], "processors"),
            (libc::SYS_sched_setscheduler, [pid, 0, 0, 0, 0], "turns"),
            (libc::SYS_ioprio_set, [1, pid, 0, 0, 0], "turns at a disk"),
        ] {
            refused(number, arguments, what);
        }
        let file = File::open("/dev/null").expect("open");
        let fd = file.as_raw_fd() as usize;
        let owner = [fd, libc::F_SETOWN as usize, pid, 0, 0];
        refused(libc::SYS_fcntl, owner, "signals from a descriptor");
        refused(libc::SYS_ioctl, [fd, 0x8901, 0, 0, 0], "the same");
        // What it does need: to abort, and to set its own threads' priority and limits.
        let own = std::process::id() as usize;
        let thread = nix::unistd::gettid().as_raw() as usize;
        call(libc::SYS_tgkill, [own, thread, 0, 0, 0]).expect("its own thread");
        call(libc::SYS_setpriority, [0, 0, 0, 0, 0]).expect("its own priority");
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NICE).expect("limits");
    });
    assert!(other.0.try_wait().expect("asked").is_none(), "it has ended");
}

#[test]
fn code_in_the_daemon_types_into_no_terminal_and_commands_no_device() {
    let dir = tempfile::tempdir().expect("a folder");
    confined(&Files::in_folder(dir.path()), |_| {
        // A terminal's other end, which anybody may make.
        let terminal = File::open("/dev/ptmx").expect("a terminal");
        let fd = terminal.as_raw_fd() as usize;
        let letter = c"x".as_ptr() as usize;
        for (number, what) in [
            (libc::TIOCSTI as usize, "typed"),
            (libc::TIOCSCTTY as usize, "taken"),
            (0x541c, "selected and pasted (TIOCLINUX)"),
            (0x2285, "a disk's command (SG_IO)"),
            (0x0127, "a disk's discard (BLKDISCARD)"),
            (libc::SIOCSIFFLAGS as usize, "an interface's flags"),
        ] {
            refused(libc::SYS_ioctl, [fd, number, letter, 0, 0], what);
        }
        // What it does need.
        let socket = UnixListener::bind(dir.path().join("socket")).expect("a socket");
        socket.set_nonblocking(true).expect("by FIONBIO");
        assert!(std::io::IsTerminal::is_terminal(&terminal), "by TCGETS");
    });
}

#[test]
fn code_in_the_daemon_reaches_no_memory_or_queue_of_other_processes() {
    let dir = tempfile::tempdir().expect("a folder");
    let victim = dir.path().join("victim");
    fs::write(&victim, "whole").expect("written");
    let name = std::ffi::CString::new(victim.as_os_str().as_bytes()).expect("a name");
    confined(&Files::in_folder(dir.path()), |_| {
        for (number, what) in [
            (libc::SYS_shmget, "memory"),
            (libc::SYS_shmat, "memory"),
            (libc::SYS_semget, "semaphores"),
            (libc::SYS_msgget, "queues"),
            (libc::SYS_mq_open, "queues by name"),
            (libc::SYS_mq_unlink, "queues by name"),
        ] {
            refused(number, [0; 5], what);
        }
        let name = name.as_ptr() as usize;
        refused(libc::SYS_truncate, [name, 0, 0, 0, 0], "cut off by name");
    });
    assert_eq!(fs::read(&victim).expect("read"), b"whole");
}

#[test]
fn code_in_the_daemon_gives_nobody_rights_to_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = dir.path().join("own");
    fs::create_dir(&own).expect("made");
    let victim = dir.path().join("victim");
    fs::write(&victim, "a program").expect("written");
    let mode = |mode| Permissions::from_mode(mode);
    fs::set_permissions(&victim, mode(0o700)).expect("set");
    let name = std::ffi::CString::new(victim.as_os_str().as_bytes()).expect("a name");
    confined(&Files::in_folder(&own), |_| {
        denied(fs::set_permissions(&victim, mode(0o755)), "by name");
        let name = name.as_ptr() as usize;
        let here = libc::AT_FDCWD as usize;
        for (number, arguments, what) in [
            (libc::SYS_fchmodat, [here, name, 0o755, 0, 0], "fchmodat"),
            (452, [here, name, 0o755, 0, 0], "fchmodat2"),
            (libc::SYS_fchownat, [here, name, 0, 0, 0], "fchownat"),
            (libc::SYS_setxattr, [name, 0, 0, 0, 0], "setxattr"),
            (libc::SYS_removexattr, [name, 0, 0, 0, 0], "removexattr"),
            (463, [here, name, 0, 0, 0], "setxattrat"),
            (libc::SYS_openat2, [here, name, 0, 0, 0], "openat2"),
            (467, [here, name, 0, 0, 0], "open_tree_attr"),
        ] {
            refused(number, arguments, what);
        }
        let file = File::open(&victim).expect("read");
        for bits in [0o4700, 0o2700, 0o722, 0o702] {
            denied(file.set_permissions(mode(bits)), "by descriptor");
        }
        refused(
            libc::SYS_fchown,
            [file.as_raw_fd() as usize, 0, 0, 0, 0],
            "fchown",
        );
        denied(std::os::unix::fs::chown(&victim, Some(0), None), "chown");
        let mut made = File::options();
        made.write(true).create_new(true).mode(0o4755);
        denied(made.open(own.join("suid")), "made with the bit");
        // What it does need.
        let file = made.mode(0o600).open(own.join("file")).expect("made");
        file.set_permissions(mode(0o644)).expect("by descriptor");
        file.set_modified(std::time::SystemTime::now())
            .expect("time");
    });
    let found = victim.metadata().expect("there").permissions().mode();
    assert_eq!(found & 0o7777, 0o700);
}

#[test]
fn code_in_the_daemon_has_sockets_of_its_own_kinds_only() {
    let dir = tempfile::tempdir().expect("a folder");
    confined(&Files::in_folder(dir.path()), |_| {
        let socket = |family: libc::c_int| {
            let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
            call(libc::SYS_socket, [family as usize, kind, 0, 0, 0])
        };
        for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP] {
            let error = socket(family).expect_err("another kind");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{family}: {error}");
        }
        for family in [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ] {
            let answer = socket(family).map_err(|error| error.raw_os_error());
            // A machine without IPv6 says so in its own way.
            assert_ne!(answer.err(), Some(Some(libc::EPERM)), "{family}");
        }
    });
}
