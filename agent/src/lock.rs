//! One agent a network and host: a lock that the kernel drops with the process, however it ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::instance::Instance;

/// Held while this process is the network's agent.
#[derive(Debug)]
pub struct Lock {
    /// The file stays when the lock goes: removing it would let two processes lock two files of one name.
    file: Flock<File>,
}

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Lock {
    /// Takes `<run_dir>/<instance>.lock` and writes the own process id into it.
    ///
    /// # Errors
    /// If another agent holds it, which the message names by process id; or if the file can't be written.
    pub fn acquire(run_dir: &Path, instance: &Instance) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_dir)
            .with_context(|| format!("create {}", run_dir.display()))?;
        let path = run_dir.join(format!("{instance}.lock"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Whoever can open a file can lock it.
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
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
        write_pid(&mut file).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { file })
    }
}

impl Lock {
    /// Keeps the lock where others look for it: somebody may empty the folder under a running agent. Never returns.
    pub async fn keep(mut self, run_dir: &Path, instance: &Instance) {
        let path = run_dir.join(format!("{instance}.lock"));
        loop {
            tokio::time::sleep(LOOK).await;
            if is_there(&path, &self.file) {
                continue;
            }
            match Self::acquire(run_dir, instance) {
                Ok(lock) => {
                    tracing::warn!(file = %path.display(), "the lock file was removed; it is back");
                    self = lock;
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the lock file was removed")
                }
            }
        }
    }
}

fn is_there(path: &Path, file: &File) -> bool {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        (Err(error), _) => error.kind() != ErrorKind::NotFound,
        _ => true,
    }
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
    let file = File::open(run_dir.join(format!("{instance}.lock"))).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((mut file, Errno::EWOULDBLOCK)) => pid(&mut file),
        _ => None,
    }
}

fn holder(file: &mut File) -> String {
    pid(file).map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
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
        assert!(is_there(&path, &first.file));
        std::fs::remove_file(&path).expect("removed");
        assert!(!is_there(&path, &first.file));
        std::fs::write(&path, "").expect("written");
        assert!(!is_there(&path, &first.file));
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
