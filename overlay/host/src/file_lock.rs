//! A file lock with a deadline. `flock` waits in turn and without polling, but for ever: so it waits on a thread of its
//! own, which is made only where somebody else holds the lock.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How many may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Others that share it too.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Locks an open file. The lock ends with the file.
///
/// # Errors
/// With the kind `WouldBlock` if another process holds it past the deadline; else what the system says.
pub fn acquire(file: &File, sharing: Sharing, deadline: Duration) -> io::Result<()> {
    let attempt = match sharing {
        Sharing::Shared => file.try_lock_shared(),
        Sharing::Exclusive => file.try_lock(),
    };
    match attempt {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => wait(file.try_clone()?, sharing, deadline),
    }
}

/// When the deadline passes, the thread goes on to wait. Should it get the lock later, the lock ends with its file.
fn wait(file: File, sharing: Sharing, deadline: Duration) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("file-lock".to_owned())
        .spawn(move || {
            let locked = match sharing {
                Sharing::Shared => file.lock_shared(),
                Sharing::Exclusive => file.lock(),
            };
            let _ = sender.send(locked);
        })?;
    receiver.recv_timeout(deadline).unwrap_or_else(|_| {
        let msg = format!("another process has held it for {} s", deadline.as_secs());
        Err(io::Error::new(ErrorKind::WouldBlock, msg))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(30);

    #[test]
    fn a_lock_that_stays_taken_ends_the_wait_and_is_had_once_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || File::create(&path).unwrap();
        let held = open();
        acquire(&held, Sharing::Exclusive, SOON).unwrap();
        for sharing in [Sharing::Shared, Sharing::Exclusive] {
            let refused = acquire(&open(), sharing, SOON).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        }
        let waiting = thread::spawn({
            let file = open();
            move || acquire(&file, Sharing::Exclusive, LATE).map(|()| file)
        });
        drop(held);
        let held = waiting.join().unwrap().unwrap();
        assert!(acquire(&open(), Sharing::Exclusive, SOON).is_err());
        drop(held);
        acquire(&open(), Sharing::Exclusive, LATE).unwrap();
    }

    #[test]
    fn readers_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("lock")).unwrap();
        let (one, two) = (open(), open());
        acquire(&one, Sharing::Shared, SOON).unwrap();
        acquire(&two, Sharing::Shared, SOON).unwrap();
        assert!(acquire(&open(), Sharing::Exclusive, SOON).is_err());
    }
}
