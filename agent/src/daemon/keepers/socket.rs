//! The socket of the operator's commands: made again when its file is gone, or as soon as there is room for it.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::file_look::{FileLook, Files};
use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::files::{atomic, file_id};

/// Connections that wait until they are taken.
const WAITING: u32 = 128;

/// Looks after the file.
pub struct Socket {
    made: Arc<Mutex<Made>>,
    look: FileLook<bool>,
}

/// The socket as it was made last.
struct Made {
    path: PathBuf,
    /// Device and inode of its file.
    file: Option<(u64, u64)>,
    listeners: UnboundedSender<UnixListener>,
}

impl Socket {
    /// Makes the socket; each listener comes through the channel. Without room for it the agent goes on.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(
        path: &Path,
        files: &Files,
        now: Instant,
    ) -> Result<(Self, UnboundedReceiver<UnixListener>)> {
        let (listeners, listener) = unbounded_channel();
        let mut made = Made {
            path: path.to_owned(),
            file: None,
            listeners,
        };
        match made.bind() {
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
        let socket = Self {
            made: Arc::new(Mutex::new(made)),
            look: FileLook::new(path.parent(), files, now),
        };
        Ok((socket, listener))
    }

    /// The file or its folder has changed.
    pub fn changed(&mut self) {
        self.look.changed();
    }
}

impl Made {
    fn bind(&mut self) -> std::io::Result<()> {
        let listener = bind(&self.path)?;
        self.file = file_id(&self.path);
        // The server lives as long as the daemon.
        let _ = self.listeners.send(listener);
        Ok(())
    }

    /// Makes it again if it is not there. Returns whether it is.
    fn keep(&mut self) -> bool {
        if self.file.is_some() && file_id(&self.path) == self.file {
            return true;
        }
        let socket = self.path.display().to_string();
        let again = self.file.is_some();
        let bound = self.bind().is_ok();
        match again {
            _ if !bound => {}
            true => tracing::warn!(socket, "the socket was removed; it is back"),
            false => tracing::warn!(socket, "there is room for the socket, and it is made"),
        }
        bound
    }
}

impl Keeper for Socket {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        let made = Arc::clone(&self.made);
        let runtime = Handle::current();
        let keep = move || {
            // The listener belongs to the main thread's runtime.
            let _runtime = runtime.enter();
            made.lock().unwrap_or_else(PoisonError::into_inner).keep()
        };
        if self.look.look(now, keep) == Some(false) {
            self.look.again_soon(now);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        self.look.due()
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
