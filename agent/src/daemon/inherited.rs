//! Descriptors that the service manager passes by number (`LISTEN_FDS`, sd_listen_fds(3)). Numbers are not proof: they are
//! looked at before this program has opened anything, so that none of its own can be among them, and each is owned only
//! once it has turned out to be what its name says.

use std::collections::BTreeMap;
use std::env;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::fs::MetadataExt;

use nix::libc;

/// Others may be passed descriptors too.
pub const PREFIX: &str = "tweed-";
/// What follows the number in the name of a TUN device.
pub const DEVICE: &str = "device";
/// The first one that is passed.
const FIRST: RawFd = 3;
/// More than any agent leaves: five for each of 64 workers.
const MOST: RawFd = 1024;
/// Major and minor number of /dev/net/tun.
const TUN: (u64, u64) = (10, 200);

/// Descriptors that were passed to this process and are ours.
#[derive(Debug, Default)]
pub struct Inherited {
    /// By name.
    pub fds: BTreeMap<String, OwnedFd>,
    /// What was passed and can't be used. It is as it was.
    pub warnings: Vec<String>,
}

impl Inherited {
    /// Looks at what was passed, and removes the variables that tell of it. To be called first of all in `main`: before
    /// anything is opened, and before there are threads.
    pub fn take() -> Self {
        let variable = |name: &str| env::var(name).ok();
        let listed = listed(&variable, std::process::id());
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            #[expect(unsafe_code, reason = "the environment belongs to all threads")]
            // SAFETY: there is one thread.
            unsafe {
                env::remove_var(name);
            }
        }
        match listed {
            Ok(listed) => Self::of(listed),
            Err(warning) => Self {
                warnings: vec![warning],
                ..Self::default()
            },
        }
    }

    fn of(listed: Vec<(RawFd, String)>) -> Self {
        let mut inherited = Self::default();
        for (number, name) in listed {
            if !name.starts_with(PREFIX) {
                continue;
            }
            let owned = match inherited.fds.contains_key(&name) {
                true => Err("another one has that name".to_owned()),
                false => own(number, &name),
            };
            match owned {
                Ok(fd) => drop(inherited.fds.insert(name, fd)),
                Err(reason) => inherited.warnings.push(format!(
                    "LISTEN_FDS: descriptor {number}, {name:?}, is left alone: {reason}"
                )),
            }
        }
        inherited
    }
}

/// Numbers and names, as the environment lists them for this process.
fn listed(
    variable: &dyn Fn(&str) -> Option<String>,
    own: u32,
) -> Result<Vec<(RawFd, String)>, String> {
    let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    // They are another process's, which has passed its environment on.
    if pid.parse() != Ok(own) {
        return Ok(Vec::new());
    }
    let fits = |count: &RawFd| (0..=MOST).contains(count);
    let Some(number) = count.parse::<RawFd>().ok().filter(fits) else {
        return Err(format!(
            "LISTEN_FDS={count:?} is not a number of descriptors from 0 to {MOST}; none is taken up"
        ));
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
    // Without names there is nothing of ours among them.
    if !names.is_empty() && RawFd::try_from(names.len()) != Ok(number) {
        return Err(format!(
            "LISTEN_FDNAMES has {} names for LISTEN_FDS={number}; none is taken up",
            names.len()
        ));
    }
    let named = (FIRST..).zip(names.into_iter().map(str::to_owned));
    Ok(named.collect())
}

/// Takes a descriptor over if it is what its name says.
fn own(number: RawFd, name: &str) -> Result<OwnedFd, String> {
    #[expect(unsafe_code, reason = "the environment names descriptors by number")]
    // SAFETY: it only asks, and sets what a descriptor has that is closed by exec; a number that is none is answered so.
    let open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if open < 0 {
        return Err("it is not open".to_owned());
    }
    #[expect(unsafe_code, reason = "the environment names descriptors by number")]
    // SAFETY: it is open, this process has opened none above standard error yet, and no other name has its number.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(number) });
    match is_as_named(&file, name) {
        Ok(()) => Ok(file.into()),
        Err(reason) => {
            // It stays open: another part of the process may own it.
            let _ = file.into_raw_fd();
            Err(reason)
        }
    }
}

fn is_as_named(file: &std::fs::File, name: &str) -> Result<(), String> {
    let found = file.metadata().map_err(|error| error.to_string())?;
    let kind = found.st_mode() & libc::S_IFMT;
    if name.ends_with(&format!("-{DEVICE}")) {
        let device = found.st_rdev();
        let numbers = (libc::major(device).into(), libc::minor(device).into());
        return match kind == libc::S_IFCHR && numbers == TUN {
            true => Ok(()),
            false => Err("it is not /dev/net/tun".to_owned()),
        };
    }
    match kind == libc::S_IFSOCK {
        true => Ok(()),
        false => Err("it is not a socket".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    fn read(pid: &str, fds: &str, names: &str) -> Result<Vec<(RawFd, String)>, String> {
        let variable = |name: &str| {
            let value = match name {
                "LISTEN_PID" => pid,
                "LISTEN_FDS" => fds,
                _ => names,
            };
            (!value.is_empty()).then(|| value.to_owned())
        };
        listed(&variable, 77)
    }

    #[test]
    fn numbers_and_names_belong_together_and_to_this_process() {
        let two = read("77", "2", "tweed-0-device:tweed-0-IPv4").expect("well formed");
        let want = [
            (3, "tweed-0-device".to_owned()),
            (4, "tweed-0-IPv4".to_owned()),
        ];
        assert_eq!(two, want);
        for (pid, fds, names) in [
            ("", "2", "a:b"),
            ("78", "2", "a:b"),
            ("77", "", ""),
            ("77", "2", ""),
        ] {
            assert_eq!(read(pid, fds, names), Ok(Vec::new()), "{pid} {fds} {names}");
        }
        for fds in ["-1", "x", "1025", "2147483647", "99999999999999999999"] {
            let refused = read("77", fds, "a").expect_err("not a number of descriptors");
            assert!(
                refused.contains("LISTEN_FDS") && refused.contains(fds),
                "{refused}"
            );
        }
        for (fds, names) in [("2", "a"), ("1", "a:b"), ("0", "a")] {
            let refused = read("77", fds, names).expect_err("they don't fit");
            assert!(refused.contains("LISTEN_FDNAMES"), "{refused}");
        }
    }

    #[test]
    fn what_is_not_what_its_name_says_is_refused_by_name_and_stays_open() {
        let (socket, file) = (
            UdpSocket::bind("127.0.0.1:0").expect("a socket"),
            std::fs::File::open("/dev/null").expect("a file"),
        );
        let unused = 900_000;
        for (number, name, reason) in [
            (file.as_raw_fd(), "tweed-0-IPv4", "not a socket"),
            (file.as_raw_fd(), "tweed-0-device", "not /dev/net/tun"),
            (socket.as_raw_fd(), "tweed-0-device", "not /dev/net/tun"),
            (unused, "tweed-0-IPv4", "not open"),
        ] {
            let found = Inherited::of(vec![(number, name.to_owned())]);
            assert!(found.fds.is_empty());
            let said = found.warnings.concat();
            assert!(said.contains(reason) && said.contains(name), "{said}");
        }
        file.metadata().expect("still open");
        socket.local_addr().expect("still open");
    }

    #[test]
    fn a_socket_is_taken_once_and_others_names_are_left_alone() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let copy = || socket.try_clone().expect("a copy").into_raw_fd();
        let (ours, again, theirs) = (copy(), copy(), copy());
        let name = |name: &str| name.to_owned();
        let found = Inherited::of(vec![
            (ours, name("tweed-0-IPv4")),
            (again, name("tweed-0-IPv4")),
            (theirs, name("other")),
        ]);
        assert_eq!(found.fds["tweed-0-IPv4"].as_raw_fd(), ours);
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        for number in [again, theirs] {
            #[expect(unsafe_code, reason = "closes what the test has opened")]
            // SAFETY: they are the test's, and closed only here.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
