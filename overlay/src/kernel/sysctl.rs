//! Kernel switches under `/proc/sys`: read, compare, write. `/proc/sys/net` is that of the calling thread's network
//! namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::KernelError;

/// The value of a switch, by its path below `/proc/sys`; `None` if there is no such switch (the interface is gone, or
/// the kernel has no IPv6). Several values of one switch are parted by tabs.
///
/// # Errors
/// When it can't be read though it is there.
pub fn read(key: &str) -> Result<Option<String>, KernelError> {
    match fs::read_to_string(path(key)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(KernelError {
            what: format!("read sysctl {key}"),
            source,
        }),
    }
}

/// Writes a switch unless it has the value already. Returns whether it wrote.
///
/// # Errors
/// When there is no such switch, or it can't be written.
pub fn write(key: &str, value: &str) -> Result<bool, KernelError> {
    let failed = |source: io::Error| KernelError {
        what: format!("set sysctl {key} = {value}"),
        source: explain(&source),
    };
    // A switch that can't be read may still be written.
    if read(key).is_ok_and(|there| there.as_deref() == Some(value)) {
        return Ok(false);
    }
    fs::write(path(key), value).map_err(failed)?;
    Ok(true)
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

fn is_absent(error: &io::Error) -> bool {
    // ENODEV: the interface went away while the file was open.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn explain(error: &io::Error) -> io::Error {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "no such switch: the interface is gone, or IPv6 is off",
        io::ErrorKind::ReadOnlyFilesystem => {
            "/proc/sys is mounted read-only: set it on the host, or run privileged"
        }
        io::ErrorKind::PermissionDenied => "permission denied: root is needed",
        io::ErrorKind::InvalidInput => "the kernel refuses the value",
        kind => return io::Error::new(kind, error.to_string()),
    };
    io::Error::new(error.kind(), fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::isolated;

    #[test]
    fn a_switch_is_written_only_if_it_differs() {
        isolated(|| {
            let key = "net/ipv4/ip_forward";
            assert!(write(key, "1").unwrap());
            assert!(!write(key, "1").unwrap());
            assert_eq!(read(key).unwrap().as_deref(), Some("1"));
            assert!(write(key, "0").unwrap());
        });
    }

    #[test]
    fn a_switch_of_an_interface_that_is_gone_is_absent() {
        isolated(|| {
            let key = "net/ipv6/conf/flannel.1/accept_ra";
            assert_eq!(read(key).unwrap(), None);
            assert_eq!(
                write(key, "0").unwrap_err().to_string(),
                "set sysctl net/ipv6/conf/flannel.1/accept_ra = 0: no such switch: the interface \
                 is gone, or IPv6 is off"
            );
            let refused = write("net/ipv4/ip_forward", "maybe").unwrap_err();
            assert_eq!(
                refused.to_string(),
                "set sysctl net/ipv4/ip_forward = maybe: the kernel refuses the value"
            );
        });
    }
}
