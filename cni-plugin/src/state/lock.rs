//! A file lock with a deadline. `flock` waits in turn and without polling, but for ever; an alarm ends the wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::alarm;
use tweed_overlay::bounded_file::{self, Links};

use crate::spec::{CniError, Context, Kind};

/// Takes an exclusive lock on a file, which is made if need be. The lock ends with the returned file.
///
/// # Errors
/// When the file can't be opened, or somebody else holds the lock past the deadline.
pub(crate) fn exclusive(path: &Path, deadline: Duration) -> Result<File, CniError> {
    let what = || format!("lock {}", path.display());
    let file = open(path).context(what)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    wait(&file, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => CniError::new(
            Kind::TryLater,
            format!(
                "{}: held by another process for {} s",
                what(),
                deadline.as_secs()
            ),
        )
        .details(format!(
            "end that process (`fuser -v {}` names it), or try again later",
            path.display()
        )),
        _ => CniError::new(Kind::Io, format!("{}: {error}", what())),
    })?;
    Ok(file)
}

/// Read-only where it is there, so that it need not be writable. The Go plugin locks the same file.
fn open(path: &Path) -> io::Result<File> {
    match bounded_file::open(path, Links::Refused) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut options = File::options();
            options.write(true).create(true).mode(0o600);
            bounded_file::open_with(&mut options, path, Links::Refused)
        }
        file => file,
    }
}

fn wait(file: &File, deadline: Duration) -> io::Result<()> {
    extern "C" fn interrupt(_: c_int) {}
    let action = SigAction::new(
        SigHandler::Handler(interrupt),
        SaFlags::empty(),
        SigSet::empty(),
    );
    #[expect(
        unsafe_code,
        reason = "the handler does nothing, which is safe at any moment"
    )]
    unsafe {
        sigaction(Signal::SIGALRM, &action)?;
    }
    let seconds = u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX).max(1);
    alarm::set(seconds);
    let locked = file.lock();
    alarm::cancel();
    locked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_stays_taken_ends_the_wait_with_try_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = exclusive(&path, Duration::from_secs(1)).unwrap();
        // In a process of its own: an alarm goes to any thread, and the test runner has many.
        let Some(child) = unsafe_fork() else {
            let failed = exclusive(&path, Duration::from_secs(1));
            let code = failed.map_or_else(|error| error.kind.code(), |_| 0);
            std::process::exit(i32::try_from(code).unwrap());
        };
        let status = nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 11));
        drop(held);
        assert!(exclusive(&path, Duration::from_secs(1)).is_ok());
    }

    fn unsafe_fork() -> Option<nix::unistd::Pid> {
        #[expect(unsafe_code, reason = "the child only takes a lock and exits")]
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => Some(child),
            nix::unistd::ForkResult::Child => None,
        }
    }
}
