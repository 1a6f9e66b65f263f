//! The socket that plugins call: systemd's, or one of our own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST: i32 = 3;

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: UnixListener,
    /// What is to be removed at the end; nothing of systemd's.
    made: Option<PathBuf>,
}

impl Listener {
    /// Takes the socket that systemd passes, or makes one that only root can use.
    ///
    /// # Errors
    /// When systemd passes several, or another daemon listens at the path.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let passed = passed(|name| std::env::var(name).ok())?;
        let listener = match passed {
            true => {
                #[expect(unsafe_code, reason = "the descriptor comes by number")]
                // SAFETY: systemd has opened it for this process, and nothing else here takes it.
                let fd = unsafe { OwnedFd::from_raw_fd(FIRST) };
                Self {
                    socket: fd.into(),
                    made: None,
                }
            }
            false => Self {
                socket: bind(path)?,
                made: Some(path.to_owned()),
            },
        };
        listener.socket.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(named)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(named(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon listens there",
        )));
    }
    // One that was killed has left it.
    let _ = fs::remove_file(path);
    let socket = UnixListener::bind(path).map_err(named)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(socket)
}

/// Whether there is a socket of systemd's.
fn passed(variable: impl Fn(&str) -> Option<String>) -> io::Result<bool> {
    let is_ours = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let count = variable("LISTEN_FDS").filter(|_| is_ours);
    match count.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(count) => Err(io::Error::other(format!(
            "systemd passes {count} sockets, want one"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_another_process_and_several_are_not_taken() {
        let own = std::process::id().to_string();
        let with = |pid: &str, fds: &str| {
            passed(|name| Some(if name == "LISTEN_PID" { pid } else { fds }.to_owned()))
        };
        assert!(with(&own, "1").unwrap());
        assert!(!with("1", "1").unwrap());
        assert!(!with(&own, "0").unwrap());
        assert!(with(&own, "2").is_err());
        assert!(!passed(|_| None).unwrap());
    }

    #[test]
    fn a_socket_that_a_killed_daemon_has_left_is_replaced_and_a_living_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/dhcp.sock");
        let first = bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(path.exists());
        bind(&path).unwrap();
    }
}
