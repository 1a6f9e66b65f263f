//! One agent a network and host: a lock that the kernel drops with the process, however it ends.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tweed_host::bounded_file::{self, KIB, Links};

use crate::config::instance::Instance;
use crate::files::atomic;

/// Held while this process is the network's agent.
#[derive(Debug)]
pub struct Lock {
    run_dir: PathBuf,
    instance: Instance,
    /// The file stays when the lock goes: removing it would let two processes lock two files of one name. None as long as
    /// there is no room for one: a host whose `/run` is full still needs its network.
    file: Option<Flock<File>>,
    /// Why it couldn't be taken again, as it was logged last.
    told: String,
}

impl Lock {
    /// Takes `<run_dir>/<instance>.lock` and writes the own process id into it. Without room for it the agent goes on.
    ///
    /// # Errors
    /// If another agent holds it, which the message names by process id; or if the file can't be written.
    pub fn acquire(run_dir: &Path, instance: &Instance) -> anyhow::Result<Self> {
        let mut lock = Self {
            run_dir: run_dir.to_owned(),
            instance: instance.clone(),
            file: None,
            told: String::new(),
        };
        lock.try_again()?;
        if lock.file.is_none() {
            tracing::error!(
                folder = %run_dir.display(),
                "there is no room for the lock: another agent of this network would not be noticed; it is taken once there is"
            );
        }
        Ok(lock)
    }

    /// Takes the lock again if its file isn't in its place: the disk may have been full, or the folder was emptied under a
    /// running agent. Returns whether it is held.
    pub fn keep(&mut self) -> bool {
        if self.is_there() {
            return true;
        }
        let was_held = self.file.is_some();
        match self.try_again() {
            Ok(false) => {}
            Ok(true) if was_held => {
                let file = self.path();
                tracing::warn!(file = %file.display(), "the lock file was removed; it is back");
            }
            Ok(true) => tracing::info!("there is room for the lock, and it is taken"),
            // The other agent was started while neither could lock anything; both go on, and log the other one.
            Err(error) => {
                let error = format!("{error:#}");
                if error != self.told {
                    tracing::error!(error, "the lock can't be taken");
                    self.told = error;
                }
            }
        }
        self.is_there()
    }

    /// The folder of its file.
    pub fn folder(&self) -> &Path {
        &self.run_dir
    }

    /// Whether the lock could be taken: there may be no room for it.
    fn try_again(&mut self) -> anyhow::Result<bool> {
        let path = self.path();
        let file = match open(&self.run_dir, &path) {
            Err(error) if atomic::no_room(&error) => return Ok(false),
            opened => opened.with_context(|| format!("open {}", path.display()))?,
        };
        // One of an earlier version may be there.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
        let mut file = match lock(file) {
            Ok(locked) => locked,
            Err((mut file, Errno::EWOULDBLOCK)) => bail!(
                "another tweedd{} works on this network already (lock {}); stop it, or give this one another network by --etcd-prefix or --store-dir",
                holder(&mut file),
                path.display(),
            ),
            Err((_, errno)) => bail!("lock {}: {}", path.display(), errno.desc()),
        };
        match write_pid(&mut file) {
            // The lock holds all the same; only its holder isn't named.
            Err(error) if atomic::no_room(&error) => {
                tracing::warn!(%error, lock = %path.display(), "the process id can't be written");
            }
            written => written.with_context(|| format!("write {}", path.display()))?,
        }
        self.file = Some(file);
        Ok(true)
    }

    fn path(&self) -> PathBuf {
        self.run_dir.join(format!("{}.lock", self.instance))
    }

    /// Whether the file that is locked is the one that others find.
    fn is_there(&self) -> bool {
        let Some(file) = &self.file else {
            return false;
        };
        match (std::fs::metadata(self.path()), file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            (Err(error), _) => error.kind() != ErrorKind::NotFound,
            _ => true,
        }
    }
}

fn open(run_dir: &Path, path: &Path) -> std::io::Result<File> {
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o755).create(run_dir)?;
    let mut options = File::options();
    options.read(true).write(true).create(true);
    // A process that can open a file can lock it.
    options.truncate(false).mode(0o600);
    bounded_file::open_with(&mut options, path, Links::Refused)
}

/// Tries a few times: another network's agent that looks whether this one runs holds the lock for a moment.
fn lock(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    for _ in 0..5 {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            result => return result,
        }
        thread::sleep(Duration::from_millis(20));
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
}

/// Process id of the agent that holds the lock, if there is one.
pub fn held_by(run_dir: &Path, instance: &Instance) -> Option<u32> {
    let path = run_dir.join(format!("{instance}.lock"));
    let file = bounded_file::open(&path, Links::Refused).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((mut file, Errno::EWOULDBLOCK)) => pid(&mut file),
        _ => None,
    }
}

fn holder(file: &mut File) -> String {
    pid(file).map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn pid(file: &mut File) -> Option<u32> {
    let text = bounded_file::read_stream(file, KIB).ok()?;
    String::from_utf8(text).ok()?.trim().parse().ok()
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> Instance {
        Instance::named(name).expect("a valid name")
    }

    #[test]
    fn a_second_agent_on_the_same_network_is_refused_and_told_the_pid() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = dir.path().join("run/tweed");
        let lock = Lock::acquire(&run, &instance("tweed")).expect("the first");
        let refusal = Lock::acquire(&run, &instance("tweed")).expect_err("the second");
        let pid = std::process::id();
        assert!(
            refusal.to_string().contains(&format!("(pid {pid})")),
            "{refusal}"
        );
        assert_eq!(held_by(&run, &instance("tweed")), Some(pid));

        drop(lock);
        assert_eq!(held_by(&run, &instance("tweed")), None);
        Lock::acquire(&run, &instance("tweed")).expect("free again");
    }

    #[test]
    fn a_lock_file_that_was_removed_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = Lock::acquire(dir.path(), &instance("tweed")).expect("the first");
        let path = dir.path().join("tweed.lock");
        assert!(first.is_there());
        std::fs::remove_file(&path).expect("removed");
        assert!(!first.is_there());
        std::fs::write(&path, "").expect("written");
        assert!(!first.is_there());
    }

    #[test]
    fn agents_of_different_networks_run_side_by_side() {
        let dir = tempfile::tempdir().expect("a folder");
        let _first = Lock::acquire(dir.path(), &instance("tweed")).expect("the first");
        let _second = Lock::acquire(dir.path(), &instance("tweed-0a1b2c3d")).expect("the second");
    }

    #[test]
    fn a_longer_pid_of_an_earlier_process_leaves_no_digits_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("tweed.lock"), "99999999999999\n").expect("written");
        let _lock = Lock::acquire(dir.path(), &instance("tweed")).expect("nobody holds it");
        let text = std::fs::read_to_string(dir.path().join("tweed.lock")).expect("readable");
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_look_at_the_lock_keeps_no_agent_from_starting_and_nobody_else_can_hold_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("tweed.lock");
        std::fs::write(&path, "").expect("written");
        let look = File::open(&path).expect("there");
        let look = Flock::lock(look, FlockArg::LockSharedNonblock).map_err(|(_, errno)| errno);
        let look = look.expect("free");
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            drop(look);
        });
        let _lock = Lock::acquire(dir.path(), &instance("tweed")).expect("a moment later");
        ends.join().expect("ended");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
