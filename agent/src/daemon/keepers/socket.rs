//! The socket of the operator's commands: made again when its file is gone, or as soon as there is room for it.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::files::{atomic, file_id};

/// How often its file is looked at, and between two attempts to make it.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that wait until they are taken.
const WAITING: u32 = 128;

/// Looks after the file.
pub struct Socket {
    path: PathBuf,
    /// Device and inode of the file that we made.
    made: Option<(u64, u64)>,
    due: Instant,
    listeners: UnboundedSender<UnixListener>,
}

impl Socket {
    /// Makes the socket; each listener comes through the channel. Without room for it the agent goes on.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(path: &Path, now: Instant) -> Result<(Self, UnboundedReceiver<UnixListener>)> {
        let (listeners, made) = unbounded_channel();
        let mut socket = Self {
            path: path.to_owned(),
            made: None,
            due: now + LOOK,
            listeners,
        };
        match socket.bind() {
            Err(error) if atomic::no_room(&error) => {
                tracing::error!(
                    socket = %path.display(), %error,
                    "there is no room for the socket: commands can't ask this agent; it is made once there is"
                );
            }
            bound => bound.with_context(|| {
                format!(
                    "make socket {} (--socket, at most 107 bytes)",
                    path.display()
                )
            })?,
        }
        Ok((socket, made))
    }

    fn bind(&mut self) -> std::io::Result<()> {
        let listener = bind(&self.path)?;
        self.made = file_id(&self.path);
        // The server lives as long as the daemon.
        let _ = self.listeners.send(listener);
        Ok(())
    }
}

impl Keeper for Socket {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        if now < self.due {
            return None;
        }
        self.due = now + LOOK;
        if self.made.is_some() && file_id(&self.path) == self.made {
            return None;
        }
        let socket = self.path.display().to_string();
        let again = self.made.is_some();
        if self.bind().is_ok() {
            match again {
                true => tracing::warn!(socket, "the socket was removed; it is back"),
                false => tracing::warn!(socket, "there is room for the socket, and it is made"),
            }
        }
        None
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    remove_left_over(path)?;
    let socket = UnixSocket::new_stream()?;
    // The file gets the socket's mode: it is never there with another one.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(path)?;
    socket.listen(WAITING)
}

/// Removes a socket that a process left that is no more. Anything else that stands there is not ours to remove.
fn remove_left_over(path: &Path) -> std::io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let what = "there is a file of that name that is no socket; remove it, or give another name by --socket";
        return Err(std::io::Error::new(ErrorKind::AlreadyExists, what));
    }
    // We hold the lock of this network; but an agent of another network may have been given the same socket.
    match UnixStream::connect(path) {
        Ok(_) => Err(std::io::Error::new(
            ErrorKind::AddrInUse,
            "another program listens on it; give each agent its own by --socket",
        )),
        Err(_) => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/tweed.sock");
        let _listener = bind(&path).expect("nothing is there");
        let found = std::fs::metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/tweed.sock");
        let listener = bind(&path).expect("nothing is there");
        let taken = bind(&path).expect_err("somebody listens");
        assert!(taken.to_string().contains("--socket"), "{taken}");
        drop(listener);
        bind(&path).expect("its owner is gone");

        let file = dir.path().join("notes.txt");
        std::fs::write(&file, "precious").expect("written");
        let refused = bind(&file).expect_err("a file");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        let text = std::fs::read_to_string(&file).expect("it is still there");
        assert_eq!(text, "precious");
    }
}
