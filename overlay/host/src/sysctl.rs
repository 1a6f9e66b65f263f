//! Kernel switches under `/proc/sys`: read, compare, write. `/proc/sys/net` is that of the calling thread's network
//! namespace.

use std::path::Path;
use std::{fs, io};

const ROOT: &str = "/proc/sys";
/// Where a container that isn't privileged finds what is mounted read-only in its own `/proc`: the host's
/// `/proc/sys/net` goes to `net` in here. Runtimes refuse mounts into `/proc` itself.
const HOST_ROOT: &str = "/host/proc/sys";

/// The value of a switch, by its path below `/proc/sys`; `None` if there is no such switch (the interface is gone, or
/// the kernel has no IPv6). Several values of one switch are parted by tabs.
///
/// # Errors
/// When it can't be read though it is there.
pub fn read(key: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(Path::new(ROOT).join(key)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a switch unless it has the value already. Returns whether it wrote.
///
/// # Errors
/// When there is no such switch, or it can't be written; the message says what to do.
pub fn write(key: &str, value: &str) -> io::Result<bool> {
    // A switch that can't be read may still be written.
    if has(key, value) {
        return Ok(false);
    }
    write_below([ROOT, HOST_ROOT].map(Path::new), key, value).map_err(|error| explain(&error))?;
    Ok(true)
}

/// Writes a switch without a look at it first, for one that surely differs: a new interface's. One that can't be
/// written and has the value already, as it may where `/proc/sys` is mounted read-only, is fine.
///
/// # Errors
/// As [`write()`].
pub fn set(key: &str, value: &str) -> io::Result<()> {
    write_below([ROOT, HOST_ROOT].map(Path::new), key, value).or_else(|error| {
        match has(key, value) {
            true => Ok(()),
            false => Err(explain(&error)),
        }
    })
}

fn has(key: &str, value: &str) -> bool {
    read(key).is_ok_and(|there| there.as_deref() == Some(value))
}

/// Writes below the first folder, or below the second where the first is mounted read-only.
fn write_below([root, second]: [&Path; 2], key: &str, value: &str) -> io::Result<()> {
    let read_only = match fs::write(root.join(key), value) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => error,
        written => return written,
    };
    match fs::write(second.join(key), value) {
        // There is no second one, and the first one's error tells what to do.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(read_only),
        written => written,
    }
}

fn is_absent(error: &io::Error) -> bool {
    // ENODEV: the interface went away while the file was open.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn explain(error: &io::Error) -> io::Error {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "no such switch: the interface is gone, or IPv6 is off",
        io::ErrorKind::ReadOnlyFilesystem => {
            "/proc/sys is mounted read-only: mount the host's /proc/sys/net at /host/proc/sys/net, or set it on the host"
        }
        io::ErrorKind::PermissionDenied => "permission denied: root is needed",
        io::ErrorKind::InvalidInput => "the kernel refuses the value",
        kind => return io::Error::new(kind, error.to_string()),
    };
    io::Error::new(error.kind(), fix)
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use tweed_netlink::netns::isolated;

    fn bind(from: &Path, to: &Path, flags: MsFlags) {
        mount(
            Some(from),
            to,
            None::<&Path>,
            MsFlags::MS_BIND | flags,
            None::<&Path>,
        )
        .unwrap();
    }

    #[test]
    fn where_proc_is_read_only_the_hosts_switches_are_written() {
        isolated(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let (root, nowhere) = (Path::new("/"), None::<&Path>);
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(nowhere, root, nowhere, private, nowhere).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let (own, host) = (Path::new(ROOT), dir.path().join("sys"));
            fs::create_dir_all(host.join("net")).unwrap();
            bind(&own.join("net"), &host.join("net"), MsFlags::empty());
            bind(own, own, MsFlags::empty());
            bind(own, own, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);

            let key = "net/ipv4/ip_forward";
            let refused = write(key, "1").unwrap_err().to_string();
            assert!(refused.contains("/host/proc/sys/net"), "{refused}");
            set(key, "0").unwrap();
            write_below([own, &host], key, "1").unwrap();
            assert_eq!(read(key).unwrap().as_deref(), Some("1"));
            let refused = write_below([own, &host], key, "maybe").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        });
    }

    #[test]
    fn a_switch_is_written_only_if_it_differs() {
        isolated(|| {
            let key = "net/ipv4/ip_forward";
            assert!(write(key, "1").unwrap());
            assert!(!write(key, "1").unwrap());
            assert_eq!(read(key).unwrap().as_deref(), Some("1"));
            assert!(write(key, "0").unwrap());
            set(key, "1").unwrap();
            set(key, "1").unwrap();
            assert_eq!(read(key).unwrap().as_deref(), Some("1"));
        });
    }

    #[test]
    fn a_switch_of_an_interface_that_is_gone_is_absent() {
        isolated(|| {
            let key = "net/ipv6/conf/flannel.1/accept_ra";
            assert_eq!(read(key).unwrap(), None);
            assert_eq!(
                write(key, "0").unwrap_err().to_string(),
                "no such switch: the interface is gone, or IPv6 is off"
            );
            let refused = write("net/ipv4/ip_forward", "maybe").unwrap_err();
            assert_eq!(refused.to_string(), "the kernel refuses the value");
        });
    }
}
